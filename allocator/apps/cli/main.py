"""The entry point: it says what to install where the extra `cli` is missing, before anything of it is imported."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

__all__ = ["PROGRAM", "main"]

PROGRAM: Final = "resource-allocator"

_OF_THE_EXTRA: Final = ("click", "rich", "yaml")


def main() -> NoReturn:
    """Run the command line on `sys.argv` and leave with an `ExitCode`: 1 where the extra is missing."""
    try:
        from allocator.apps.cli.root import root  # noqa: PLC0415 - it needs the extra
    except ModuleNotFoundError as missing:
        if missing.name not in _OF_THE_EXTRA:
            raise
        sys.exit(f"error: {PROGRAM} needs the package {missing.name}: pip install 'redis-resource-allocator[cli]'")
    root.main(prog_name=PROGRAM)


if __name__ == "__main__":
    main()
