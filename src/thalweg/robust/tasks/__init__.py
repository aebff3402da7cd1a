"""What a security engineer asks for."""
