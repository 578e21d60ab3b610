"""The protocol with Redis: keys, field names, scripts, flows and the wire format; no I/O."""
