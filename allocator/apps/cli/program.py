"""The program's name, and the message for a missing extra; nothing of the extra is imported here."""

from __future__ import annotations

from typing import Final

from allocator.distribution import install

__all__ = ["PROGRAM", "missing_extra"]

PROGRAM: Final = "resource-allocator"

_OF_THE_EXTRA: Final = ("click", "rich", "yaml")


def missing_extra(error: Exception) -> str:
    """A message that names the package to install, if the error is a missing package of the extra; else ""."""
    if not isinstance(error, ModuleNotFoundError) or error.name not in _OF_THE_EXTRA:
        return ""
    return f"{PROGRAM} needs the package {error.name}: {install('cli')}"
