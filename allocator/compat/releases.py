"""Releases in the background: what the server could not take is sent again by the renewer's thread, as for a hold."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from functools import partial

from allocator import settings
from allocator._engine.fork_safety import reset_after_fork
from allocator._engine.leases.lease import Lease
from allocator._engine.leases.registry import RENEWERS, LeaseLocation
from allocator.compat import limits
from allocator.compat.check_leases import CheckLease
from allocator.models.allocations import Allocation
from allocator.resources import Resources

__all__ = ["Releases"]

log = logging.getLogger("allocator")


class Releases:
    """The releases of one object that wait for the server.  They go on after the object is closed."""

    def __init__(self) -> None:
        self._waiting = 0
        self.reset()
        reset_after_fork(self)

    def reset(self) -> None:
        """Start anew in a forked child: what waits is sent by the parent."""
        self._lock = threading.Lock()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def later(self, location: LeaseLocation, id: str, fence: int | None, why: object) -> None:
        """Keep a release, and log that it is kept; it raises nothing.

        One without a fence is not kept: by the time it is sent, another grant may have the id.
        """
        if fence is None:
            log.error("release_resources: %s is not released, and without its fence it is not sent again: %s", id, why)
            return
        with self._lock:
            room = self._waiting < limits.RELEASES_KEPT_MAX
            self._waiting += room
        if not room:
            log.error(
                "release_resources: %s stays until its deadline or a cleanup, for %d releases wait already: %s",
                id,
                limits.RELEASES_KEPT_MAX,
                why,
            )
            return
        allocation = Allocation(id, location.pool.name, "", Resources(), fence, 0, None, None)
        lease = _lease(location, allocation, limits.RELEASE_KEPT_S)
        lease.on_ended = partial(self._ended, id)
        log.warning("release_resources: %s is released in the background: %s", id, why)
        try:
            RENEWERS.release_later(location, lease)
        except RuntimeError as error:
            self._ended(id, error)

    def _ended(self, id: str, error: Exception | None) -> None:
        with self._lock:
            self._waiting -= 1
        if error is None:
            log.info("released %s in the background", id)
        else:
            log.error("release_resources: %s stays until its deadline or a cleanup: %s", id, error)

    def release_kept(self, leases: Iterable[CheckLease]) -> None:
        """Release in the background what checks have kept; what has lapsed is the server's already."""
        for kept in leases:
            if kept.lapsed:
                continue
            lease = _lease(kept.location, kept.allocation, settings.UNDO_FOR_S)
            try:
                RENEWERS.release_later(kept.location, lease)
            except RuntimeError as error:  # no thread can be started
                log.warning("what a check keeps stays until its deadline (%s): %s", kept.allocation.id, error)


def _lease(location: LeaseLocation, allocation: Allocation, kept_s: float) -> Lease:
    now = location.now()
    return Lease(allocation, round(kept_s * 1000), now, now, _ignore_loss)


def _ignore_loss() -> None:
    """A lease that is being released has no holder to tell."""
