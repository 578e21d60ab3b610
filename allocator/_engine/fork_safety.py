"""Fork safety: a forked child replaces sockets, and locks that a thread of the parent may have held."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol

__all__ = ["Resettable", "reset_after_fork"]


class Resettable(Protocol):
    """An object that can be reset in a forked child."""

    def reset(self) -> None:
        """Drop connections, threads and locks without closing or releasing them."""
        ...


_all: Final[weakref.WeakSet[Resettable]] = weakref.WeakSet()


def reset_after_fork(thing: Resettable) -> None:
    """Call its `reset` in every child that this process forks from now on, as long as the object exists."""
    _all.add(thing)


def _reset_all() -> None:
    for thing in list(_all):
        thing.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
