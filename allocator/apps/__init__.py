"""Programs made of the library: they use its public names only."""
