"""Operations, flows and their steps; no I/O.

An *operation* is a value: one `Call` and the decoding of its reply.  A *flow* is a generator of steps that returns a
result: several calls, written once for both clients.  `yield from operation` inside a flow is typed with the
operation's result.  A *driver* performs the steps, blocking (`driver`) or awaited (`driver_async`).

Steps that drivers only take apart are named tuples: a frozen dataclass takes five times as long to define, and every
program that imports the library would wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from allocator import settings
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import Argument, Script
from allocator.durability import Durability

R = TypeVar("R")
Reply: TypeAlias = list[Any]
"""A script's reply: nested lists of str and int, with RESP2 and RESP3 alike."""


# Items, calls and operations are never changed, but not frozen: every call makes one of each, and freezing triples
# their cost.
@dataclass(slots=True, unsafe_hash=True)
class Item:
    """One item of a call that changes something.

    `call` is its call id: drawn once, and sent with every retry of this item and with nothing else.  On the wire an
    item is `call, repeated, *args`, where `repeated` is 1 once an earlier attempt may have been executed.  `other_key`
    is the key of another record that the item changes: a call's keys end with these, each once.
    """

    call: str
    args: tuple[Argument, ...]
    key: str = ""
    id: str = ""
    other_key: str = ""


@dataclass(slots=True, unsafe_hash=True)
class Call:
    """One script call, ready to send: `keys`, each item's key; the envelope, `args`, each item.

    The reply to a call with items has one entry per item.  `batch`: the items are independent, so they may share a
    script call with items of other calls that have the same script, keys and arguments.  `undo`: the items are undone
    if their flow does not return.  `durability`: the durability to wait for before the reply is returned.
    """

    script: Script
    pool: PoolKeys
    keys: tuple[str, ...]
    args: tuple[Argument, ...]
    items: tuple[Item, ...] = ()
    batch: bool = False
    undo: bool = False
    durability: DurabilityRequirement | None = None


class DurabilityRequirement(NamedTuple):
    """The durability that a call requires: the call's level, and the pool's level as the reply has it.

    `requested` finds the pool's level in an entry of the reply; None if the entry had no effect.
    `record` writes the level that was reached into an entry.
    """

    level: Durability
    requested: Callable[[Any], Durability | None]
    record: Callable[[Any, str], None]

    def missing(self, reply: Reply) -> Durability | None:
        """The durability to reach before the reply is returned; None: nothing to wait for."""
        for entry in reply:
            found = self.requested(entry)
            if found is not None:
                return found | self.level or None
        return None

    def stamped(self, reply: Reply, reached: Durability) -> Reply:
        """The reply with the reached level recorded in it."""
        for entry in reply:
            if self.requested(entry) is not None:
                self.record(entry, str(reached))
        return reply


class Sleep(NamedTuple):
    """Wait this many seconds."""

    seconds: float


class Wake(NamedTuple):
    """Wait until a script publishes on the wake channel of a call, or until so many seconds have passed.

    The first one of a call only subscribes, and returns once the server has confirmed that: the flow asks the store
    again after it, so that nothing is published unheard in between.  The result is a bool: whether a message arrived.
    Where there is no subscription it is a wait of at most `WAKE_POLL_S`, and the next one subscribes again.  A message
    that arrives between two of them ends the second at once.

    The flow's deadline does not run meanwhile: after each one it starts anew.
    """

    pool: PoolKeys
    call: str
    seconds: float = settings.HEARTBEAT_S


class Scan(NamedTuple):
    """List at most `limit` keys that match a pattern, on every primary, each once.  The result is list[str]."""

    pattern: str
    limit: int


class Command(NamedTuple):
    """Send one read-only command to the server that has the pool.

    The result is its reply, or a `CommandError` for an error reply.
    """

    pool: PoolKeys
    words: tuple[Argument, ...]


class CommandError(NamedTuple):
    """A server's error reply, as a value."""

    text: str


class Now:
    """Return the time of a clock that is never set, in seconds: a float."""


class TimeLeft:
    """Return how many seconds of the call's total deadline are left: a float, never below 0."""


Step: TypeAlias = Call | Command | Sleep | Wake | Scan | Now | TimeLeft
Flow: TypeAlias = Generator[Step, Any, R]


@dataclass(slots=True, eq=False)
class Operation(Generic[R]):
    """One call and the decoding of its reply.  One round trip."""

    call: Call
    decode: Callable[[Reply], R]

    def __iter__(self) -> Flow[R]:
        return self.decode((yield self.call))
