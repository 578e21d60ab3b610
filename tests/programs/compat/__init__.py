"""The original API, on the in-process store and on real servers."""
