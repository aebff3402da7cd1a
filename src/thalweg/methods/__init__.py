"""How a walk is made: one algorithm per file, and the one step loop."""
