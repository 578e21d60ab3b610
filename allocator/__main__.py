"""`python -m allocator`: the command `resource-allocator`."""

from __future__ import annotations

from allocator.apps.cli.main import main

if __name__ == "__main__":
    main()
