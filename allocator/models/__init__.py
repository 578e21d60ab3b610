"""The arguments and results of the clients: frozen dataclasses, exact integers, no I/O.

Amounts are integers in the resource's unit (`allocator.units`).  Instants are milliseconds of the server's clock since
1970 (`*_ms`), with properties that return aware `datetime`s.  Durations are in seconds where people write them, and in
milliseconds where the name ends in `_ms`.
"""
