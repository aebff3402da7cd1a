"""What a landscape is."""
