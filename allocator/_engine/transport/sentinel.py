"""The router to the primary that Sentinels name, blocking.

redis-py's Sentinel client stays on a demoted primary until its connections close.  That may take ten seconds, and the
writes of that time are lost.  Here the Sentinels are asked once a second while calls are made (`SENTINEL_REFRESH_S`),
and after each failure that may mean a failover.  The role of the server is checked on each new connection.

All Sentinels are asked at once, each from one thread, at most one thread per Sentinel.  The call that asks continues
with the first reply, or without one after `SENTINEL_TIMEOUT_S`.  A later reply counts when it arrives, so a client with
slow Sentinels also leaves a replaced primary.  `ConnectionPool.confirmed` is the instant at which a Sentinel last named
the primary: it limits how long a deadline from it may be relied on (`validity`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.protocol.keys import PoolKeys
from allocator._engine.protocol.resp import pack_command
from allocator._engine.transport.connection import Connection
from allocator._engine.transport.connections import ConnectionPool, send_once, server_check
from allocator._engine.transport.failures import AttemptFailure, connection_failure, least_lasting
from allocator._engine.transport.primary_discovery import ROLE_COMMAND, PrimaryDiscovery, check_role
from allocator._engine.transport.target import Address, ConnectionFactory, SentinelTarget
from allocator.errors import BackendUnavailable

__all__ = ["SentinelRouter"]


class SentinelRouter:
    """Routes all calls to the primary of one service, as its Sentinels name it."""

    in_process = False
    watched = True

    def __init__(self, target: SentinelTarget, make: ConnectionFactory) -> None:
        self._target = target
        self._make = make
        self._discovery = PrimaryDiscovery(target.seeds, target.service)
        self._sentinels = {address: self._sentinel(address) for address in self._discovery.sentinels}
        self._primary: ConnectionPool | None = None
        self._address: Address | None = None
        self._failures: dict[Address, AttemptFailure] = {}
        """The last failure to find the primary; a look that the deadline cuts short tells nothing newer."""
        self._closed = False
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Replace the lock in a forked child: the asking threads exist only in the parent, and one may have held it."""
        self._lock = threading.RLock()  # entered in one step, as that of `connections`
        self._changed = threading.Condition(self._lock)
        self._asking: set[Address] = set()
        self._looking = 0

    def route(self, pool: PoolKeys, until: float) -> ConnectionPool:
        primary = self._primary
        if primary is None or self._discovery.is_due(time.monotonic()):
            primary = self._look(until)
        return primary

    def primaries(self, until: float) -> Sequence[ConnectionPool]:
        return (self._look(until),)

    def on_failure(self, pool: PoolKeys, failure: AttemptFailure) -> ConnectionPool | None:
        if failure.reconnect:
            with self._lock:
                self._discovery.invalidate(time.monotonic())
                primary = self._primary
            if primary is not None:
                primary.close_idle()
        return None

    def connection_pools(self) -> Sequence[ConnectionPool]:
        primary = self._primary
        return () if primary is None else (primary,)

    def close(self) -> None:
        with self._lock:
            self._closed = True
        for connections in (*self._sentinels.values(), *([self._primary] if self._primary else [])):
            connections.close()

    # -- asking --------------------------------------------------------------------------------------------------------

    def _look(self, until: float) -> ConnectionPool:
        """Ask all Sentinels, wait for the first reply, and return the connections to the primary.

        While no Sentinel replies, the known primary stays in use unless a failure has invalidated it.  Other calls do
        not wait for a periodic refresh.
        """
        began, discovery = time.monotonic(), self._discovery
        with self._lock:
            if self._primary is not None and (
                not discovery.is_due(began) or (self._looking and not discovery.is_invalid)
            ):
                return self._primary
            self._looking += 1
            try:
                if (named := self._ask_all(began, discovery.ends(began, until))) is not None:
                    return named
            finally:
                self._looking -= 1
            if self._primary is None or discovery.is_invalid:
                silent = AttemptFailure(
                    BackendUnavailable(f"no Sentinel of {self._target.address} answers", code="timeout")
                )
                raise least_lasting(self._failures.values()) or silent
            discovery.defer(began)
            return self._primary

    def _ask_all(self, began: float, ends: float) -> ConnectionPool | None:
        """The connections to the primary after the first reply; None if none came in time.  The caller has the lock."""
        unasked, now = list(self._discovery.sentinels), began
        while True:
            for address in [one for one in unasked if one not in self._asking]:
                unasked.remove(address)
                self._ask(address)
            if self._primary is not None and not self._discovery.is_due(now):
                return self._primary
            if (not self._asking and not unasked) or now >= ends:
                return None
            self._changed.wait(ends - now)
            now = time.monotonic()

    def _ask(self, address: Address) -> None:
        self._asking.add(address)
        work = partial(self._hear, address, time.monotonic())
        try:
            threading.Thread(target=work, name="allocator-sentinel", daemon=True).start()
        except RuntimeError:  # no thread can be started: ask in this thread, one Sentinel after the other
            work()

    def _hear(self, address: Address, asked: float) -> None:
        """Ask one Sentinel and record its reply, however late."""
        reply: Any = None
        failure: AttemptFailure | None = None
        try:
            reply = send_once(self._sentinels[address], self._discovery.command, asked + settings.SENTINEL_PATIENCE_S)
        except AttemptFailure as error:
            failure = error
        with self._lock:
            self._asking.discard(address)
            try:
                if failure is None:
                    self._lead(self._discovery.read_reply(address, asked, reply))
                else:
                    self._failures[address] = failure
            except AttemptFailure as error:
                self._failures[address] = error
            except Exception as error:  # noqa: BLE001 - a reply that no Sentinel gives
                self._failures[address] = connection_failure(self._sentinels[address].address, error)
            self._changed.notify_all()

    def _lead(self, address: Address) -> None:
        """Make this address the primary, and close the connections to the former one, whose new writes are lost."""
        if self._closed:
            return
        if self._primary is None or self._address != address:
            if self._primary is not None:
                self._primary.supersede()
            self._primary, self._address = self._new(address), address
        self._primary.confirmed = self._discovery.confirmed
        self._failures.clear()

    def _new(self, address: Address) -> ConnectionPool:
        host, port = address
        where = f"{host}:{port}"

        def on_connect(connection: Connection) -> None:
            connection.send_packed_command((pack_command(ROLE_COMMAND),), False)
            check_role(where, _reply(connection))

        make = partial(self._make, self._target.attempt_timeout_s, host=host, port=port)
        check_server = server_check(self._target.eviction_check, where)
        return ConnectionPool(
            make,
            address=where,
            max_connections=self._target.connector.max_connections,
            check_server=check_server,
            on_connect=on_connect,
        )

    def _sentinel(self, address: Address) -> ConnectionPool:
        make = self._target.sentinel_connector.make
        assert make is not None
        host, port = address
        bound = partial(make, settings.SENTINEL_PATIENCE_S, host=host, port=port)
        return ConnectionPool(bound, address=f"the Sentinel {host}:{port}")


def _reply(connection: Connection) -> Any:
    """A reply, or the error reply in its place."""
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
