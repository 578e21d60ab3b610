"""The program's name, its standard streams, the message for a missing extra; nothing of the extra is imported here."""

from __future__ import annotations

import io
import os
import sys
from typing import Final, Literal

from allocator.distribution import install

__all__ = ["PROGRAM", "missing_extra", "open_streams"]

PROGRAM: Final = "resource-allocator"

_EXTRAS: Final[dict[str, Literal["cli", "metrics", "tui", "web"]]] = {
    "click": "cli", "rich": "cli", "yaml": "cli", "prometheus_client": "metrics", "starlette": "web", "textual": "tui",
    "uvicorn": "web",
}  # fmt: skip
"""Package -> the extra that brings it."""

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""The standard streams in the order of their descriptors, with their modes."""


def open_streams() -> None:
    """Open each standard stream that is closed on the null device, and let both outputs take any text.

    A descriptor that stayed closed would be given to the next connection, and the output would go to the server.  What
    an encoding does not have is written with backslashes.
    """
    for name, mode in _STREAMS:
        stream = getattr(sys, name)
        if stream is None:
            lowest = os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor: the stream's own
            setattr(sys, name, open(lowest, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def missing_extra(error: Exception) -> str:
    """A message that names the package to install, if the error is a missing package of an extra; else ""."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package not in _EXTRAS:
        return ""
    return f"{PROGRAM} needs the package {package}: {install(_EXTRAS[package])}"
