"""What the public clients promise, told once and run on both clients and every store."""
