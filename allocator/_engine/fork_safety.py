"""What a forked child must not share with its parent: sockets, and locks that a thread of the parent held."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol

__all__ = ["Renewable", "renew_after_fork"]


class Renewable(Protocol):
    """Something that can begin anew."""

    def start_anew(self) -> None:
        """Forget connections, threads and locks without touching them."""
        ...


_all: Final[weakref.WeakSet[Renewable]] = weakref.WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Let it start anew in every child that this process forks from now on, for as long as it lives."""
    _all.add(thing)


def _renew_all() -> None:
    for thing in list(_all):
        thing.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
