"""Readers of holdings, fundamentals, emissions and drivers, and the panel that the models see."""
