"""Perform operations: drivers, retries, batches, undoing what nobody heard of."""
