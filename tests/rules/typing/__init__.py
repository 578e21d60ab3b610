"""What the type checkers must say of programs that use the library; nothing here is run.

`mypy --strict` and `pyright` in strict mode read these files.  Where a comment expects an error, its absence is one.
"""
