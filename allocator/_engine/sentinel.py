"""The primary that Sentinels name, blocking.

redis-py would find it too, but its clients stay on a demoted primary for as long as their connections live: until the
Sentinels have made a replica of it, which may take ten seconds in which it takes writes that will be lost.  Here the
Sentinels are asked again once a second while calls are made (`SENTINEL_LOOK_S`, one round trip to one of them), and
after each fault that may mean a failover.  A new connection looks at the server's role before it is used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.exceptions import ResponseError

from allocator import settings
from allocator._engine.faults import Fault
from allocator._engine.forks import renew_after_fork
from allocator._engine.keys import PoolKeys
from allocator._engine.lines import Line, Lines, admitter, ask
from allocator._engine.store import Address, MakeLine, SentinelStore
from allocator._engine.watchtower import ROLE_COMMAND, Watchtower, check_role
from allocator._engine.wire import pack
from allocator.errors import BackendUnavailable

__all__ = ["SentinelNodes"]


class SentinelNodes:
    """The primary of one service, as its Sentinels name it."""

    in_process = False

    def __init__(self, store: SentinelStore, make: MakeLine) -> None:
        self._store = store
        self._make = make
        self._tower = Watchtower(store.seeds, store.service)
        self._sentinels: dict[Address, Lines] = {}
        self._primary: tuple[Address, Lines] | None = None
        self.start_anew()
        renew_after_fork(self)

    def start_anew(self) -> None:
        """In a forked child: a thread of the parent may have held the lock."""
        self._changing = threading.RLock()

    def of(self, pool: PoolKeys, until: float) -> Lines:
        primary = self._primary
        if primary is None or self._tower.is_due(time.monotonic()):
            primary = self._look(until)
        return primary[1]

    def primaries(self, until: float) -> Sequence[Lines]:
        return (self._look(until)[1],)

    def note(self, pool: PoolKeys, fault: Fault) -> Lines | None:
        if fault.stale:
            self._tower.doubt()
            if self._primary is not None:
                self._primary[1].drop()
        return None

    def close(self) -> None:
        for lines in (*self._sentinels.values(), *([self._primary[1]] if self._primary else [])):
            lines.close()

    def _look(self, until: float) -> tuple[Address, Lines]:
        """Ask one Sentinel after the other, until one knows; the connections to whom it names.

        Who is silent costs no more than the time that is left of the call.  While none answers, the primary that was
        known goes on being used: Sentinels that are down are no reason not to work.
        """
        began, known = time.monotonic(), self._primary
        if not self._changing.acquire(timeout=max(until - began, 0.0) if known is None or self._tower.doubted else 0):
            if known is not None and not self._tower.doubted:
                return known  # another thread is looking
            raise Fault(BackendUnavailable(f"no Sentinel of {self._store.where} answers", code="timeout"))
        try:
            if self._primary is not None and not self._tower.is_due(time.monotonic()):
                return self._primary  # another thread was faster
            last: Fault | None = None
            for address in self._tower.order():
                if last is not None and self._tower.gives_up(time.monotonic(), until, began):
                    break
                try:
                    named = self._tower.learn(address, ask(self._sentinel(address), self._tower.command, until))
                except Fault as fault:
                    self._tower.missed(address)
                    last = fault
                else:
                    return self._lead(named)
            if self._primary is None or self._tower.doubted:
                raise last or Fault(BackendUnavailable(f"{self._store.where} has no Sentinels"))
            self._tower.put_off(time.monotonic())
            return self._primary
        finally:
            self._changing.release()

    def _lead(self, address: Address) -> tuple[Address, Lines]:
        self._tower.looked(time.monotonic())
        if self._primary is None or self._primary[0] != address:
            if self._primary is not None:
                self._primary[1].leave()  # whoever is demoted takes writes that will be lost
            self._primary = (address, self._new(address))
        return self._primary

    def _new(self, address: Address) -> Lines:
        host, port = address
        where = f"{host}:{port}"

        def greet(line: Line) -> None:
            line.send_packed_command((pack(ROLE_COMMAND),), False)
            check_role(where, _reply(line))

        make = partial(self._make, self._store.attempt_timeout_s, host=host, port=port)
        admit = admitter(self._store.admission, where)
        return Lines(make, where=where, most=self._store.door.most, admit=admit, greet=greet)

    def _sentinel(self, address: Address) -> Lines:
        lines = self._sentinels.get(address)
        if lines is None:
            make = self._store.sentinel_door.make
            assert make is not None
            host, port = address
            bound = partial(make, min(self._store.attempt_timeout_s, settings.SENTINEL_TIMEOUT_S), host=host, port=port)
            lines = self._sentinels[address] = Lines(bound, where=f"the Sentinel {host}:{port}")
        return lines


def _reply(line: Line) -> Any:
    """A reply, or the error that came in its place."""
    try:
        return line.read_response()
    except ResponseError as error:
        return error
