"""Pictures and pages of the room."""
