"""What a theorist of learning asks for."""
