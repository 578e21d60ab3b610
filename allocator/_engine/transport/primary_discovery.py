"""Which primary to go to by what the Sentinels say, and when to ask them; no I/O.

`sentinel` and `async_sentinel` do the asking: all Sentinels at once, and an answer counts whenever it comes.  Sentinels
may disagree for a while: after a failover some have not heard of it yet, and one that is cut off goes on naming the old
primary.  So whoever *changes* its answer has news, and the latest news wins; where there are none, most votes do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import NoPermissionError, ReadOnlyError

from allocator import settings
from allocator._engine.transport.failures import AttemptFailure
from allocator._engine.transport.target import Address
from allocator.errors import BackendUnavailable

__all__ = ["ROLE_COMMAND", "PrimaryDiscovery", "check_role"]

ROLE_COMMAND: Final = ("ROLE",)

_PRIMARY: Final = "master"


@dataclass(slots=True)
class _Vote:
    """What a Sentinel last said: whom it names, when it was asked, and since when it names that one instead of another.

    Instants are `time.monotonic`; `changed` is minus infinity where it has always named that one.
    """

    named: Address
    asked: float
    changed: float


class PrimaryDiscovery:
    """What is known of one service."""

    def __init__(self, sentinels: Sequence[Address], service: str) -> None:
        """Know nothing yet.

        Args:
            sentinels: Whom to ask.
            service: The name by which they know the primary.
        """
        self.command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        self.sentinels = tuple(dict.fromkeys(sentinels))
        self.primary: Address | None = None
        self.confirmed = -math.inf
        """The last instant at which a Sentinel was asked that named this primary."""
        self._service = service
        self._votes: dict[Address, _Vote] = {}
        self._invalid: float | None = None
        self._next = -math.inf

    @property
    def is_invalid(self) -> bool:
        """Whether calls have to wait for an answer."""
        return self._invalid is not None

    def is_due(self, now: float) -> bool:
        """Whether to ask before the next call."""
        return self._invalid is not None or now >= self._next

    def invalidate(self, now: float) -> None:
        """Something has failed as it does when the primary is no longer the one that was known.

        Only what is said of it from now on counts: who named it before may be behind.
        """
        if self._invalid is None:
            self._invalid = now
            for vote in self._votes.values():
                if vote.named == self.primary:
                    vote.asked = vote.changed = -math.inf

    def defer(self, began: float) -> None:
        """None has answered a look that began then, and the primary that was known still works."""
        self._next = max(self._next, began + settings.SENTINEL_REFRESH_S)

    def ends(self, began: float, until: float) -> float:
        """Until when a look that began then may keep a call waiting.

        Who knows no primary, or doubts it, waits for as long as the call has; who only looks again does not let calls
        wait for silent Sentinels.
        """
        if self.primary is None or self.is_invalid:
            return until
        return min(until, began + settings.SENTINEL_TIMEOUT_S)

    def read_reply(self, sentinel: Address, asked: float, reply: Any) -> Address:
        """Take note of a Sentinel's answer to a question that was asked then.

        Returns:
            The primary, by all that has been said.

        Raises:
            Fault: This one does not know the service (yet).
        """
        if not reply:
            text = f"the Sentinel {sentinel[0]}:{sentinel[1]} knows no {self._service!r}"
            raise AttemptFailure(BackendUnavailable(text, code="no_primary"), passes=True)
        named = (str(reply[0]), int(reply[1]))
        before = self._votes.get(sentinel)
        changed = -math.inf
        if before is not None:
            changed = before.changed if before.named == named else asked
        self._votes[sentinel] = _Vote(named, asked, changed)
        chosen = self._choose(asked)
        if chosen != self.primary:
            self.primary, self.confirmed, self._invalid = chosen, -math.inf, None
        if self._invalid is not None and asked >= self._invalid:
            self._invalid = None
        votes = [vote.asked for vote in self._votes.values() if vote.named == chosen]
        self.confirmed = max([self.confirmed, *votes])
        self._next = max(self._next, asked + settings.SENTINEL_REFRESH_S)
        return chosen

    def _choose(self, asked: float) -> Address:
        """Of those named of late the one of the latest news, or of most votes; the present one where that is even."""
        fresh = [vote for vote in self._votes.values() if vote.asked >= asked - settings.SENTINEL_BELIEF_S]

        def rank(named: Address) -> tuple[float, int, bool]:
            votes = [vote for vote in fresh if vote.named == named]
            return max(vote.changed for vote in votes), len(votes), named == self.primary

        return max(dict.fromkeys(vote.named for vote in fresh), key=rank)


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
