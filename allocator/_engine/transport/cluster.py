"""A cluster's nodes, blocking."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial

from allocator._engine.fork_safety import renew_after_fork
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.connections import Lines, admitter, ask
from allocator._engine.transport.failures import Fault, Way
from allocator._engine.transport.slot_map import SLOTS_COMMAND, Topology, slot_of
from allocator._engine.transport.target import Address, ClusterStore, MakeLine
from allocator.errors import BackendUnavailable

__all__ = ["ClusterNodes"]


class ClusterNodes:
    """The nodes of one cluster, each with connections of its own, made when a call first goes there."""

    in_process = False
    watched = False

    def __init__(self, store: ClusterStore, make: MakeLine) -> None:
        self._store = store
        self._make = make
        self._topology = Topology(store.seeds, store.remap)
        self._nodes: dict[Address, Lines] = {}
        self._failed: Address | None = None
        self.start_anew()
        renew_after_fork(self)

    def start_anew(self) -> None:
        """In a forked child: a thread of the parent may have held the lock."""
        self._changing = threading.RLock()

    def of(self, pool: PoolKeys, until: float) -> Lines:
        if self._topology.outdated:
            self._refresh(until)
        owner = self._topology.owner(slot_of(pool))
        if owner is None:
            self._topology.outdated = True
            text = f"no node of {self._store.where} serves the pool {pool.name}"
            raise Fault(BackendUnavailable(text, code="cluster_down"), passes=True)
        return self._lines(owner)

    def primaries(self, until: float) -> Sequence[Lines]:
        self._refresh(until)
        return [self._lines(address) for address in self._topology.primaries()]

    def note(self, pool: PoolKeys, fault: Fault) -> Lines | None:
        slot = slot_of(pool)
        owner = self._topology.owner(slot)
        if fault.redirect is not None:
            told = fault.redirect
            address = self._topology.address(told.host, told.port, owner or ("", 0))
            if told.way is Way.ASK:
                return self._lines(address)
            self._topology.moved(slot, address)
        elif fault.stale:
            self._topology.outdated = True
            self._failed = owner
            if owner is not None:
                self._lines(owner).drop()
        return None

    def close(self) -> None:
        for lines in list(self._nodes.values()):
            lines.close()

    def _lines(self, address: Address) -> Lines:
        lines = self._nodes.get(address)
        if lines is None:
            with self._changing:
                lines = self._nodes.get(address) or self._new(address)
                self._nodes[address] = lines
        return lines

    def _new(self, address: Address) -> Lines:
        host, port = address
        where = f"{host}:{port}"
        return Lines(
            partial(self._make, self._store.attempt_timeout_s, host=host, port=port),
            where=where,
            most=self._store.door.most,
            admit=admitter(self._store.admission, where),
        )

    def _refresh(self, until: float) -> None:
        """Ask one node after the other for the map, until one answers."""
        if not self._changing.acquire(timeout=max(until - time.monotonic(), 0.0)):
            raise Fault(BackendUnavailable(f"no node of {self._store.where} answers", code="timeout"))
        try:
            if not self._topology.outdated:  # another thread was faster
                return
            last: Fault | None = None
            for address in self._topology.advisers(last=self._failed):
                if last is not None and time.monotonic() >= until:
                    break
                try:
                    self._topology.learn(ask(self._lines(address), SLOTS_COMMAND, until), address)
                except Fault as fault:
                    last = fault
                else:
                    self._failed = None
                    return
            raise last or Fault(BackendUnavailable(f"{self._store.where} has no nodes"))
        finally:
            self._changing.release()
