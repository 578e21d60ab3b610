"""Which Sentinel to ask for the primary, and when; no I/O.  `sentinel` and `async_sentinel` do the asking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import NoPermissionError, ReadOnlyError

from allocator import settings
from allocator._engine.faults import Fault
from allocator._engine.store import Address
from allocator.errors import BackendUnavailable

__all__ = ["ROLE_COMMAND", "Watchtower", "check_role"]

ROLE_COMMAND: Final = ("ROLE",)

_PRIMARY: Final = "master"


class Watchtower:
    """What is known of one service."""

    def __init__(self, sentinels: Sequence[Address], service: str) -> None:
        """Know nothing yet.

        Args:
            sentinels: Whom to ask.
            service: The name by which they know the primary.
        """
        self.command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        self.doubted = False
        self._service = service
        self._order = list(dict.fromkeys(sentinels))
        self._next = -math.inf

    def is_due(self, now: float) -> bool:
        """Whether to ask before the next call."""
        return self.doubted or now >= self._next

    def doubt(self) -> None:
        """Something has failed as it does when the primary is no longer the one that was known.

        The next to be asked is another Sentinel: who named that primary may be behind.
        """
        if not self.doubted:
            self.doubted = True
            self._order = self._order[1:] + self._order[:1]

    def looked(self, now: float) -> None:
        """A Sentinel has answered."""
        self.doubted = False
        self._next = now + settings.SENTINEL_LOOK_S

    def put_off(self, now: float) -> None:
        """None has answered, and the primary that was known still works."""
        self._next = now + settings.SENTINEL_LOOK_S

    def gives_up(self, now: float, until: float, began: float) -> bool:
        """Whether to ask no further Sentinel after one that did not answer.

        Who doubts asks until the call's time is over; who only looks again does not let calls wait for silent ones.
        """
        return now >= (until if self.doubted else min(until, began + settings.SENTINEL_TIMEOUT_S))

    def missed(self, address: Address) -> None:
        """It did not answer, or did not know: it is the last to be asked next time."""
        self._order = [*(other for other in self._order if other != address), address]

    def order(self) -> list[Address]:
        """Whom to ask, first who answered last."""
        return list(self._order)

    def learn(self, told_by: Address, reply: Any) -> Address:
        """Read a Sentinel's answer.

        Raises:
            Fault: It does not know the service (yet).
        """
        if not reply:
            text = f"the Sentinel {told_by[0]}:{told_by[1]} knows no {self._service!r}"
            raise Fault(BackendUnavailable(text, code="no_primary"), passes=True)
        self._order = [told_by, *(other for other in self._order if other != told_by)]
        return str(reply[0]), int(reply[1])


def check_role(where: str, reply: Any) -> None:
    """Refuse a server that is no primary: the Sentinels, or this client, are behind.

    A user who may not ask is let through: a replica refuses what would change it anyway.
    """
    if isinstance(reply, NoPermissionError):
        return
    if isinstance(reply, Exception):
        raise reply
    if str(reply[0]) != _PRIMARY:
        raise ReadOnlyError(f"{where} is a {reply[0]}, not the primary")
