"""Which connections a call goes out on, blocking: one server's, or those of the cluster's node that serves the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.cluster import ClusterNodes
from allocator._engine.transport.connections import Line, Lines, admitter
from allocator._engine.transport.failures import Fault
from allocator._engine.transport.sentinel import SentinelNodes
from allocator._engine.transport.target import ClusterStore, MakeLine, SentinelStore, ServerStore, Store
from allocator.errors import InvalidRequest

__all__ = ["Nodes", "open_nodes"]


class Nodes(Protocol):
    """The servers of one store."""

    in_process: bool
    watched: bool
    """Whether somebody says from time to time which server is the primary, which bounds what may be believed."""

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

    watched = False

    def __init__(self, store: ServerStore, make: MakeLine) -> None:
        self.in_process = store.in_process
        self._store = store
        self._make = make
        self._lines = Lines(
            self._line, where=store.where, most=store.door.most, admit=admitter(store.admission, store.where)
        )

    def _line(self) -> Line:
        store = self._store
        return self._make(store.attempt_timeout_s, **(store.find() if store.find is not None else {}))

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
    make = store.door.make
    if make is None:
        raise InvalidRequest("this client is for asyncio: use AsyncAllocator", field="client")
    if isinstance(store, ServerStore):
        return OneServer(store, make)
    if isinstance(store, SentinelStore):
        return SentinelNodes(store, make)
    assert isinstance(store, ClusterStore)
    return ClusterNodes(store, make)
