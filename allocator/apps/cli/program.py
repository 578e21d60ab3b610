"""The program's name, and what to install where its extra is missing; nothing of the extra is imported here."""

from __future__ import annotations

from typing import Final

__all__ = ["PROGRAM", "missing_extra"]

PROGRAM: Final = "resource-allocator"

_OF_THE_EXTRA: Final = ("click", "rich", "yaml")


def missing_extra(error: Exception) -> str:
    """What to install, where the error is a missing package of the extra; otherwise ""."""
    if not isinstance(error, ModuleNotFoundError) or error.name not in _OF_THE_EXTRA:
        return ""
    return f"{PROGRAM} needs the package {error.name}: pip install 'redis-resource-allocator[cli]'"
