"""Networks whose landscape is the energy of atoms."""
