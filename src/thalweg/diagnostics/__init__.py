"""What one reads off a landscape or a walk."""
