"""Perform operations: drivers, retries, batching, and the undo of calls whose outcome no caller receives."""
