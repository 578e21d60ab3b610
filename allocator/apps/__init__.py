"""Programs that use the library: its public names only."""
