"""What is said to Redis: keys, fields, scripts, flows, bytes; no I/O."""
