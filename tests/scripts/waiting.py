"""Requests that wait in line, for the tests of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.scripts.ledger import MINUTE, Ledger, Line

__all__ = ["Waiting", "ask", "hear", "wait"]


@dataclass(frozen=True)
class Waiting:
    """A request that was sent with `wait`, and the reply to it."""

    line: Line
    last: Line
    reply: Any

    def without_wait(self) -> Line:
        """The last try of the call."""
        return self.last


def wait(pool: Ledger, identity: str, resources: dict[str, int], *, ms: int = MINUTE, **options: Any) -> Waiting:
    """Send a request that must wait."""
    line = pool.want(identity, resources, wait=ms, **options)
    last = pool.want(identity, resources, **{**options, "call": line.call})
    reply = pool.allocate(line)[0]
    assert reply[0] == "waiting", reply
    return Waiting(line, last, reply)


def ask(pool: Ledger, line: Line) -> Any:
    """The reply to one item."""
    return pool.allocate(line)[0]


def hear(pool: Ledger, *waiting: Waiting, by: int = 0) -> list[str]:
    """The first words of the replies to clients that ask again, one call after another, some time later."""
    pool.now += by
    return [pool.allocate(one.line.again())[0][0] for one in waiting]
