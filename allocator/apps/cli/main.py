"""The entry point.  If the extra `cli` is missing it names the package to install, before it imports click."""

from __future__ import annotations

import sys
from typing import NoReturn

from allocator.apps.cli.program import PROGRAM, missing_extra, open_streams

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line on `sys.argv` and exit with an `ExitCode`; 1 if the extra is missing."""
    open_streams()
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
