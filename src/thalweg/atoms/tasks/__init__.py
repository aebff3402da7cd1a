"""What a chemist asks for, one file per task."""
