"""What one does on a landscape."""
