"""What a flow may ask of the outside world, and what it is made of; no I/O here.

An *operation* is a value: one `Call` and how to read its reply.  A *flow* is a generator of steps that ends with a
result: a story of several calls, told once for both clients.  `yield from operation` inside a flow is typed with the
operation's result. A *driver* performs the steps, blocking (`driver`) or awaited (`driver_async`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.scripts import Argument, Script
from allocator.durability import Durability

R = TypeVar("R")
Reply: TypeAlias = list[Any]
"""A script's reply: nested lists of str and int, whatever the protocol."""


# Items and calls are values like the rest, but not frozen: every call makes one of either, and freezing trebles their
# cost.
@dataclass(slots=True, unsafe_hash=True)
class Item:
    """One item of a call that changes something.

    `call` is its call id: drawn once, sent with every retry of this item, and by nothing else.  On the wire an item is
    `call, repeated, *args`, where `repeated` is 1 once an earlier attempt may have been executed.
    """

    call: str
    args: tuple[Argument, ...]
    key: str = ""
    id: str = ""


@dataclass(slots=True, unsafe_hash=True)
class Call:
    """One script call, ready to send: `keys`, each item's key; `now_ms`, `args`, each item.

    A call with items is answered item by item.  `batch` says that its items stand for themselves, so that they may
    share a script call with items of other calls that have the same script, keys and arguments.  `undo` says that its
    effect must not outlive a flow that does not return: its items are undone then.  `durability` says how safe its
    effect must be before it is answered.
    """

    script: Script
    pool: PoolKeys
    keys: tuple[str, ...]
    args: tuple[Argument, ...]
    items: tuple[Item, ...] = ()
    batch: bool = False
    undo: bool = False
    durability: DurabilityRequirement | None = None


@dataclass(frozen=True, slots=True)
class DurabilityRequirement:
    """How safe what a call does is to be: the call's level, and what its reply says that the pool asks for.

    `requested` finds the pool's level in an entry of the reply: None where the entry has had no effect.
    `record` writes the level that was reached into an entry.
    """

    level: Durability
    requested: Callable[[Any], Durability | None]
    record: Callable[[Any, str], None]

    def missing(self, reply: Reply) -> Durability | None:
        """What is to be reached before the reply is handed on; None: nothing more."""
        for entry in reply:
            found = self.requested(entry)
            if found is not None:
                return found | self.level or None
        return None

    def stamped(self, reply: Reply, reached: Durability) -> Reply:
        """The reply with the level that was reached."""
        for entry in reply:
            if self.requested(entry) is not None:
                self.record(entry, str(reached))
        return reply


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait this many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Scan:
    """List at most `limit` keys that match a pattern, on every primary, each once.  Answered with list[str]."""

    pattern: str
    limit: int


@dataclass(frozen=True, slots=True)
class Command:
    """Send one command that changes nothing to the server that has the pool.  Answered with its reply, or with the
    `CommandError` that came in its place.
    """

    pool: PoolKeys
    words: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class CommandError:
    """A server's error reply, as a value."""

    text: str


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """Ask how many seconds of the call's total deadline are left.  Answered with a float, never below 0."""


Step: TypeAlias = Call | Command | Sleep | Scan | TimeLeft
Flow: TypeAlias = Generator[Step, Any, R]


@dataclass(frozen=True, slots=True)
class Operation(Generic[R]):
    """One call and the reading of its reply."""

    call: Call
    decode: Callable[[Reply], R]

    def __iter__(self) -> Flow[R]:
        return self.decode((yield self.call))
