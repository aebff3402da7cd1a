"""What an analyst asks for: accounting, forecasts, backtests, sensitivities, stress."""
