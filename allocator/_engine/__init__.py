"""The engine: protocol, transport, operations, execution, leases and server processes.  Not public."""
