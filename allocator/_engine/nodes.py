"""Which connections a call goes out on, blocking: one server's, or those of the cluster's node that serves the pool."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from redis.exceptions import ResponseError

from allocator._engine.connect import ServerStore, Store
from allocator._engine.faults import Fault
from allocator._engine.keys import PoolKeys
from allocator._engine.lines import Line, Lines
from allocator._engine.wire import pack
from allocator.errors import InvalidRequest

__all__ = ["Nodes", "open_nodes"]


class Nodes(Protocol):
    """The servers of one store."""

    in_process: bool

    def of(self, pool: PoolKeys, until: float) -> Lines:
        """The connections to the server that has this pool; raises a `Fault` where that cannot be found out."""
        ...

    def primaries(self, until: float) -> Sequence[Lines]:
        """The connections to each server that has keys."""
        ...

    def note(self, pool: PoolKeys, fault: Fault) -> Lines | None:
        """Learn from a failed attempt at a call to this pool.

        Returns:
            The connections of another server to which the next attempt must go this once, after ASKING; or None.
        """
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class OneServer:
    """A store of one server."""

    def __init__(self, store: ServerStore) -> None:
        if store.make is None:
            raise InvalidRequest("this client is for asyncio: use AsyncAllocator", field="client")
        admission = store.admission

        def admit(line: Line) -> None:
            line.send_packed_command((pack(admission.COMMAND),), False)
            try:
                reply = line.read_response()
            except ResponseError as error:
                reply = error
            admission.judge(store.where, reply)

        self.in_process = store.in_process
        self._lines = Lines(
            partial(store.make, store.attempt_timeout_s),
            where=store.where,
            most=store.most,
            admit=admit if admission.asks else None,
        )

    def of(self, pool: PoolKeys, until: float) -> Lines:
        return self._lines

    def primaries(self, until: float) -> Sequence[Lines]:
        return (self._lines,)

    def note(self, pool: PoolKeys, fault: Fault) -> Lines | None:
        if fault.stale:
            self._lines.drop()
        return None

    def close(self) -> None:
        self._lines.close()


def open_nodes(store: Store) -> Nodes:
    """The servers of a store; nothing is connected."""
    if isinstance(store, ServerStore):
        return OneServer(store)
    raise InvalidRequest(f"{store!r} is of no known kind", field="url")
