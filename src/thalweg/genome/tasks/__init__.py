"""What a user of the room asks for: one file per task."""
