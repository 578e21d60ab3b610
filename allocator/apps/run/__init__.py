"""`resource-allocator run`: a command that runs while an allocation is held, as `flock` runs one with a lock.

`command` allocates, attends to the process and releases.  `child` is the process, `signals` takes the signals that are
passed on to it, `terminal` is the terminal that both share.  It needs a Unix system.
"""
