"""The room of atoms: potentials that are rotation invariant, their training, dynamics and audit."""
