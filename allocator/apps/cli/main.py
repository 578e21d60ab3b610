"""The entry point: it says what to install where the extra `cli` is missing, before anything of it is imported."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

__all__ = ["PROGRAM", "main", "missing_extra"]

PROGRAM: Final = "resource-allocator"

_OF_THE_EXTRA: Final = ("click", "rich", "yaml")


def missing_extra(error: Exception) -> str:
    """What to install, where the error is a missing package of the extra; otherwise ""."""
    if not isinstance(error, ModuleNotFoundError) or error.name not in _OF_THE_EXTRA:
        return ""
    return f"{PROGRAM} needs the package {error.name}: pip install 'redis-resource-allocator[cli]'"


def main() -> NoReturn:
    """Run the command line on `sys.argv` and leave with an `ExitCode`: 1 where the extra is missing."""
    try:
        from allocator.apps.cli.root import root  # noqa: PLC0415 - it needs the extra
    except ModuleNotFoundError as error:
        message = missing_extra(error)
        if not message:
            raise
        sys.exit(f"error: {message}")
    root.main(prog_name=PROGRAM)


if __name__ == "__main__":
    main()
