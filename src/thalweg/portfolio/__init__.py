"""The room of portfolios: recursive neural forecasts of financed emissions, with honest intervals."""
