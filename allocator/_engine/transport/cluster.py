"""The router of a cluster, blocking."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial

from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.transport.connections import ConnectionPool, send_once, server_check
from allocator._engine.transport.failures import AttemptFailure, RedirectKind, connection_failure, least_lasting
from allocator._engine.transport.slot_map import SLOTS_COMMAND, SlotMap, slot_of
from allocator._engine.transport.target import Address, ClusterTarget, ConnectionFactory
from allocator.errors import BackendUnavailable

__all__ = ["ClusterRouter"]


class ClusterRouter:
    """Routes each call to the cluster node that serves the pool's slot.

    Each node has a connection pool, made at the first call to it.
    """

    in_process = False
    watched = False

    def __init__(self, target: ClusterTarget, make: ConnectionFactory) -> None:
        self._target = target
        self._make = make
        self._topology = SlotMap(target.seeds, target.remap)
        self._routes: dict[Address, ConnectionPool] = {}
        self._failed: Address | None = None
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Replace the lock in a forked child: a thread of the parent may have held it."""
        self._changing = threading.RLock()

    def route(self, pool: PoolKeys, until: float) -> ConnectionPool:
        if self._topology.outdated:
            self._refresh(until)
        owner = self._topology.owner(slot_of(pool))
        if owner is None:
            self._topology.outdated = True
            text = f"no node of {self._target.address} serves the pool {pool.name}"
            raise AttemptFailure(BackendUnavailable(text, code="cluster_down"), transient=True)
        return self._connections(owner)

    def primaries(self, until: float) -> Sequence[ConnectionPool]:
        self._refresh(until)
        return [self._connections(address) for address in self._topology.primaries()]

    def on_failure(self, pool: PoolKeys, failure: AttemptFailure) -> ConnectionPool | None:
        slot = slot_of(pool)
        owner = self._topology.owner(slot)
        if failure.redirect is not None:
            told = failure.redirect
            address = self._topology.address(told.host, told.port, owner or ("", 0))
            if told.kind is RedirectKind.ASK:
                return self._connections(address)
            self._topology.set_owner(slot, address)
        elif failure.reconnect:
            self._topology.outdated = True
            self._failed = owner
            if owner is not None:
                self._connections(owner).close_idle()
        return None

    def connection_pools(self) -> Sequence[ConnectionPool]:
        return list(self._routes.values())

    def close(self) -> None:
        for connections in list(self._routes.values()):
            connections.close()

    def _connections(self, address: Address) -> ConnectionPool:
        connections = self._routes.get(address)
        if connections is None:
            with self._changing:
                connections = self._routes.get(address) or self._new(address)
                self._routes[address] = connections
        return connections

    def _new(self, address: Address) -> ConnectionPool:
        host, port = address
        where = f"{host}:{port}"
        return ConnectionPool(
            partial(self._make, self._target.attempt_timeout_s, host=host, port=port),
            address=where,
            max_connections=self._target.connector.max_connections,
            check_server=server_check(self._target.eviction_check, where),
        )

    def _refresh(self, until: float) -> None:
        """Read the slot map: ask one node after the other until one replies.  One round trip per node asked."""
        if not self._changing.acquire(timeout=max(until - time.monotonic(), 0.0)):
            raise AttemptFailure(BackendUnavailable(f"no node of {self._target.address} answers", code="timeout"))
        try:
            if not self._topology.outdated:  # another thread has refreshed it
                return
            failed: list[AttemptFailure] = []
            for address in self._topology.candidates(last=self._failed):
                if failed and time.monotonic() >= until:
                    break
                try:
                    self._topology.update(send_once(self._connections(address), SLOTS_COMMAND, until), address)
                except AttemptFailure as failure:
                    failed.append(failure)
                except Exception as error:  # noqa: BLE001 - a reply that no node of a cluster gives
                    failed.append(connection_failure(self._connections(address).address, error))
                else:
                    self._failed = None
                    return
            raise least_lasting(failed) or AttemptFailure(BackendUnavailable(f"{self._target.address} has no nodes"))
        finally:
            self._changing.release()
