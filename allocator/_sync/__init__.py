"""The client that blocks, GENERATED, never edited."""
