"""Networks as landscapes: their functions, their exchangeable units, the problems that they make."""
