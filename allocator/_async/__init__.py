"""The client for event loops, written by hand; `tools/generate.py` makes `allocator._sync` of it."""
