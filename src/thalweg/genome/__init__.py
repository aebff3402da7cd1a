"""The room of genomes: a recurrent network that finds splice sites, and plasticity modulated by methylation."""
