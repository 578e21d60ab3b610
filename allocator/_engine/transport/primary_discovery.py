"""Primary discovery: which primary to use by the Sentinels' replies, and when to ask them; no I/O.

`sentinel` and `sentinel_async` ask all Sentinels at once, and a reply counts whenever it arrives.  Sentinels may
disagree for a while: after a failover some still name the old primary, and a partitioned one does so until it is
reconnected.  So the primary of the Sentinel that *changed* its reply last is chosen.  Where none changed, the most
votes decide.
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
    """The last reply of a Sentinel: the primary it named, when it was asked, and when its reply changed to this one.

    Instants are `time.monotonic`; `changed` is minus infinity where it never named another.
    """

    named: Address
    asked: float
    changed: float


class PrimaryDiscovery:
    """The votes of the Sentinels for one service, and the primary that they give."""

    def __init__(self, sentinels: Sequence[Address], service: str) -> None:
        """Start without votes.

        Args:
            sentinels: The addresses of the Sentinels.
            service: The service name of the primary, as configured on the Sentinels.
        """
        self.command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        self.sentinels = tuple(dict.fromkeys(sentinels))
        self.primary: Address | None = None
        self.confirmed = -math.inf
        """The last instant at which a Sentinel was asked whose reply named this primary."""
        self._service = service
        self._votes: dict[Address, _Vote] = {}
        self._invalid: float | None = None
        self._next = -math.inf

    @property
    def is_invalid(self) -> bool:
        """Whether calls must wait for a reply of a Sentinel."""
        return self._invalid is not None

    def is_due(self, now: float) -> bool:
        """Whether to ask before the next call."""
        return self._invalid is not None or now >= self._next

    def invalidate(self, now: float) -> None:
        """Invalidate the primary after a failure that may mean a failover.

        Earlier votes for it no longer count, as those Sentinels may be behind.
        """
        if self._invalid is None:
            self._invalid = now
            for vote in self._votes.values():
                if vote.named == self.primary:
                    vote.asked = vote.changed = -math.inf

    def defer(self, began: float) -> None:
        """Put the next refresh off by `SENTINEL_REFRESH_S`: no Sentinel replied to the one that began then."""
        self._next = max(self._next, began + settings.SENTINEL_REFRESH_S)

    def ends(self, began: float, until: float) -> float:
        """The instant until which a refresh that began then may delay a call.

        Without a valid primary it is the call's deadline.  A periodic refresh delays a call by at most
        `SENTINEL_TIMEOUT_S`.
        """
        if self.primary is None or self.is_invalid:
            return until
        return min(until, began + settings.SENTINEL_TIMEOUT_S)

    def read_reply(self, sentinel: Address, asked: float, reply: Any) -> Address:
        """Record the reply of a Sentinel that was asked at `asked`.

        Returns:
            The primary, by all votes.

        Raises:
            AttemptFailure: This Sentinel does not know the service (yet).
        """
        if not reply:
            text = f"the Sentinel {sentinel[0]}:{sentinel[1]} knows no {self._service!r}"
            raise AttemptFailure(BackendUnavailable(text, code="no_primary"), transient=True)
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
        """The primary of the latest changed vote, else of the most votes, else the present one.

        Only votes of the last `SENTINEL_BELIEF_S` count.
        """
        fresh = [vote for vote in self._votes.values() if vote.asked >= asked - settings.SENTINEL_BELIEF_S]

        def rank(named: Address) -> tuple[float, int, bool]:
            votes = [vote for vote in fresh if vote.named == named]
            return max(vote.changed for vote in votes), len(votes), named == self.primary

        return max(dict.fromkeys(vote.named for vote in fresh), key=rank)


def check_role(where: str, reply: Any) -> None:
    """Refuse a server that is not a primary, as the Sentinels or this client may be behind.

    Without the permission for ROLE the check passes: a replica refuses writes anyway.
    """
    if isinstance(reply, NoPermissionError):
        return
    if isinstance(reply, Exception):
        raise reply
    if str(reply[0]) != _PRIMARY:
        raise ReadOnlyError(f"{where} is a {reply[0]}, not the primary")
