"""What forecasts a company's emissions: the recursive network and the differentiable damped trend."""
