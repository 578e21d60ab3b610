"""What the clients take and return: frozen dataclasses, exact integers, no I/O.

Amounts are integers in the resource's unit (`allocator.units`).  Instants are milliseconds of the server's clock since
1970 (`*_ms`), with properties that give aware `datetime`s.  Durations are seconds where people write them, and
milliseconds where `_ms` says so.
"""
