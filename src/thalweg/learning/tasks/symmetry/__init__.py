"""Two identical units: the saddle, the rate, the audit."""
