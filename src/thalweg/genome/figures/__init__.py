"""Pictures and reports of the room."""
