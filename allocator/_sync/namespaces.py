"""`Namespaces`: what a client has beside its own verbs, noun by noun."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from allocator._base import Client
from allocator._engine.execution.driver import Driver

if TYPE_CHECKING:  # each is imported when it is first used
    from allocator._sync.events import Events
    from allocator._sync.maintenance import Maintenance
    from allocator._sync.pools import Pools
    from allocator._sync.queue import Queue
    from allocator._sync.quotas import Quotas

__all__ = ["Namespaces"]


class Namespaces(Client[Driver]):
    """The namespaces of a client, over its connections and with its defaults."""

    @cached_property
    def pools(self) -> Pools:
        """Creates, changes, reads and deletes pools."""
        from allocator._sync.pools import Pools  # noqa: PLC0415

        return Pools(self._driver, self._defaults)

    @cached_property
    def quotas(self) -> Quotas:
        """Sets, reads and deletes the limits of scopes."""
        from allocator._sync.quotas import Quotas  # noqa: PLC0415

        return Quotas(self._driver, self._defaults)

    @cached_property
    def queue(self) -> Queue:
        """Reads who waits in line, and takes requests out."""
        from allocator._sync.queue import Queue  # noqa: PLC0415

        return Queue(self._driver, self._defaults)

    @cached_property
    def events(self) -> Events:
        """Reads the changes of the pool."""
        from allocator._sync.events import Events  # noqa: PLC0415

        return Events(self._driver, self._defaults)

    @cached_property
    def maintenance(self) -> Maintenance:
        """Reclaims, reconciles, audits, examines."""
        from allocator._sync.maintenance import Maintenance  # noqa: PLC0415

        return Maintenance(self._driver, self._defaults)
