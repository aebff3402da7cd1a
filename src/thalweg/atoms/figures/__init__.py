"""Pictures of potentials, of their errors, and of what they do."""
