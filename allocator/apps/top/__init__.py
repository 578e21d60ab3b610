"""`resource-allocator top`: a pool on the whole terminal, live (extra `tui`)."""
