"""Leases that are held for the length of a block: the schedule by hand, the threads, and holders on real servers."""
