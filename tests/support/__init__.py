"""What the tests stand on: real servers and clusters of every engine, a proxy that breaks connections, waiting."""
