"""What a forked child must not share with its parent: sockets, and locks that a thread of the parent held."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol

__all__ = ["Resettable", "reset_after_fork"]


class Resettable(Protocol):
    """Something that can begin anew."""

    def reset(self) -> None:
        """Forget connections, threads and locks without touching them."""
        ...


_all: Final[weakref.WeakSet[Resettable]] = weakref.WeakSet()


def reset_after_fork(thing: Resettable) -> None:
    """Let it start anew in every child that this process forks from now on, for as long as it lives."""
    _all.add(thing)


def _reset_all() -> None:
    for thing in list(_all):
        thing.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
