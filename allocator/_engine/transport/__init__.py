"""Connections to Redis and who is asked for a key."""
