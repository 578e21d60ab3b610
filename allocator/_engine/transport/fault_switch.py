"""Fault switch: outages of an in-process server that a test turns on; `allocator.testing.faults` is its interface.

It acts where a network would: a connection is refused, or ends before or after the server has executed the command.
The drivers handle that as they handle any lost connection.  Only a server that `allocator.testing` has made has a
switch.
"""

from __future__ import annotations

import enum
import hashlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import NoScriptError, ResponseError

from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.protocol import scripts
from allocator._engine.protocol.resp import pack_command
from allocator._engine.protocol.scripts import Argument
from allocator._engine.transport.connection import Connection
from allocator._engine.transport.failures import NotRetriedError

__all__ = ["CHANGING", "REQUESTING", "FaultKind", "FaultSwitch", "InjectedFault", "SwitchedConnection"]

CHANGING: Final = frozenset({"adopt", "allocate", "begin_release", "release", "renew", "resize"})
"""The scripts that change an allocation for their caller, whose reply can be lost."""

REQUESTING: Final = frozenset({"allocate", "check", "resize"})
"""The scripts that compare a request with the room of a pool."""

_CAPACITY: Final = ".capacity"
_ALLOCATED: Final = ".allocated"


class FaultKind(enum.Enum):
    """What happens: a connection is refused, a reply is lost, or the pool has no room."""

    REFUSED = "refused"
    LOST = "lost"
    FULL = "full"


@dataclass(slots=True, eq=False)
class InjectedFault:
    """One fault that is turned on.

    Attributes:
        kind: What happens.
        fired: How often it has happened.
        left: How often it may still happen; None: any number of times.
        retried: Whether the call is attempted again until its timeout; if not, it fails as if that had passed.
        executed: Of a lost reply: whether the server executes the call.
        scripts: The scripts that it happens to.
        resources: The resources without room; empty: all.
    """

    kind: FaultKind
    fired: int = 0
    left: int | None = None
    retried: bool = True
    executed: bool = True
    scripts: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()


class FaultSwitch:
    """The faults of one in-process server.  Threads may share it."""

    def __init__(self) -> None:
        self._faults: tuple[InjectedFault, ...] = ()
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Make a new lock in a forked child; a thread of the parent may have held the old one."""
        self.lock = threading.RLock()
        """Held for each exchange, so that no other connection sees a pool while it is filled."""

    @property
    def armed(self) -> bool:
        """Whether any fault is turned on."""
        return bool(self._faults)

    def arm(self, fault: InjectedFault) -> None:
        """Turn a fault on."""
        with self.lock:
            self._faults = (*self._faults, fault)

    def disarm(self, fault: InjectedFault) -> None:
        """Turn it off; the others stay."""
        with self.lock:
            self._faults = tuple(one for one in self._faults if one is not fault)

    def find(self, kind: FaultKind, script: str = "") -> InjectedFault | None:
        """The fault of that kind that happens next to this script, the latest first; None if there is none."""
        return next(iter(self.find_all(kind, script)), None)

    def find_all(self, kind: FaultKind, script: str = "") -> list[InjectedFault]:
        """All faults of that kind that may happen to this script, the latest first."""
        return [
            fault
            for fault in reversed(self._faults)
            if fault.kind is kind and fault.left != 0 and (kind is FaultKind.REFUSED or script in fault.scripts)
        ]

    def refuse(self) -> None:
        """Raise the error of a refused connection if the server is down."""
        with self.lock:
            fault = self.find(FaultKind.REFUSED)
            if fault is not None:
                raise _fire(fault, "Error 111 connecting to the in-process server. Connection refused.")


def _fire(fault: InjectedFault, text: str) -> ConnectionLostError:
    """Count the fault; returns the error of the connection."""
    fault.fired += 1
    if fault.left is not None:
        fault.left -= 1
    return ConnectionLostError(text) if fault.retried else NotRetriedError(text)


class SwitchedConnection:
    """A connection to an in-process server that has a fault switch; an `immune` one has no faults."""

    def __init__(self, connection: Connection, switch: FaultSwitch, *, immune: bool = False) -> None:
        self._connection = connection
        self._switch = switch
        self._immune = immune
        self._replies: list[Any] = []

    def connect(self) -> None:
        if not self._immune:
            self._switch.refuse()
        self._connection.connect()

    def can_read(self, timeout: float = 0) -> bool:
        """True also while the server is down: an idle connection is then replaced, as one that the server closed."""
        down = not self._immune and self._switch.find(FaultKind.REFUSED) is not None
        return bool(self._replies) or down or self._connection.can_read(timeout)

    def send_packed_command(self, command: Iterable[bytes], check_health: bool = True) -> None:
        packed = b"".join(command)
        with self._switch.lock:
            if self._switch.armed and not self._immune:
                self._replies.append(self._perform(packed))
            else:
                self._connection.send_packed_command((packed,), False)

    def read_response(self) -> Any:
        if not self._replies:
            return self._connection.read_response()
        reply = self._replies.pop()
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def disconnect(self) -> None:
        self._connection.disconnect()

    def _perform(self, packed: bytes) -> Any:
        """The reply to a command, or the error reply; raises the error of a lost connection."""
        switch = self._switch
        switch.refuse()
        words = _words(packed)
        script = _script_name(words)
        lost = switch.find(FaultKind.LOST, script)
        if lost is not None and not lost.executed:
            raise _fire(lost, "Connection closed by server.")
        full = switch.find_all(FaultKind.FULL, script)
        reply = self._exchange_filled(packed, words[3].decode(), full) if full else self._exchange(packed)
        if lost is not None and not isinstance(reply, NoScriptError):
            raise _fire(lost, "Connection closed by server.")
        return reply

    def _exchange(self, packed: bytes) -> Any:
        self._connection.send_packed_command((packed,), False)
        try:
            return self._connection.read_response()
        except ResponseError as error:
            return error

    def _exchange_filled(self, packed: bytes, pool: str, full: Sequence[InjectedFault]) -> Any:
        """The reply to a script call that finds all room of the pool allocated; afterwards the room is there again."""
        room = {field: amount for fault in full for field, amount in self._room(pool, fault.resources).items()}
        self._add(pool, room)
        try:
            reply = self._exchange(packed)
        finally:
            self._add(pool, {field: -amount for field, amount in room.items()})
        if not isinstance(reply, NoScriptError):
            for fault in full:
                fault.fired += 1
        return reply

    def _room(self, pool: str, resources: frozenset[str]) -> dict[str, int]:
        """Field of the allocated amount -> what is not allocated of it."""
        reply = self._command("HGETALL", pool)
        if isinstance(reply, dict):  # with RESP3
            fields = cast("dict[str, str]", reply)
        else:
            fields = dict(zip(reply[::2], reply[1::2], strict=True))
        names = [field.removesuffix(_CAPACITY) for field in fields if field.endswith(_CAPACITY)]
        left = {name: int(fields[name + _CAPACITY]) - int(fields.get(name + _ALLOCATED, 0)) for name in names}
        return {
            name + _ALLOCATED: amount
            for name, amount in left.items()
            if amount > 0 and (not resources or name in resources)
        }

    def _add(self, pool: str, amounts: dict[str, int]) -> None:
        for field, amount in amounts.items():
            self._command("HINCRBY", pool, field, amount)

    def _command(self, *words: Argument) -> Any:
        reply = self._exchange(pack_command(words))
        if isinstance(reply, ResponseError):
            raise reply
        return reply


def _words(packed: bytes) -> list[bytes]:
    """The words of a packed command."""
    count, _, rest = packed.partition(b"\r\n")
    words: list[bytes] = []
    for _ in range(int(count[1:])):
        size, _, rest = rest.partition(b"\r\n")
        end = int(size[1:])
        words.append(rest[:end])
        rest = rest[end + 2 :]
    return words


def _script_name(words: Sequence[bytes]) -> str:
    """The script that a command calls; "" if it is another command, or another script than a fault can name."""
    command, *given = words
    if command == b"EVALSHA":
        sha = given[0].decode()
    elif command == b"EVAL":
        sha = hashlib.sha1(given[0], usedforsecurity=False).hexdigest()
    else:
        return ""
    # Linking takes tens of milliseconds a script, and what is not linked was not sent.
    candidates = [scripts.load(name) for name in sorted(CHANGING | REQUESTING)]
    return next((one.name for one in candidates if one.is_linked and one.memory_sha == sha), "")
