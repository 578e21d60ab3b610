"""`AsyncNamespaces`: what a client has beside its own verbs, noun by noun."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from allocator._base import Client
from allocator._engine.execution.driver_async import AsyncDriver

if TYPE_CHECKING:  # each is imported when it is first used
    from allocator._async.events import AsyncEvents
    from allocator._async.maintenance import AsyncMaintenance
    from allocator._async.pools import AsyncPools
    from allocator._async.queue import AsyncQueue
    from allocator._async.quotas import AsyncQuotas

__all__ = ["AsyncNamespaces"]


class AsyncNamespaces(Client[AsyncDriver]):
    """The namespaces of a client, over its connections and with its defaults."""

    @cached_property
    def pools(self) -> AsyncPools:
        """Creates, changes, reads and deletes pools."""
        from allocator._async.pools import AsyncPools  # noqa: PLC0415

        return AsyncPools(self._driver, self._defaults)

    @cached_property
    def quotas(self) -> AsyncQuotas:
        """Sets, reads and deletes the limits of scopes."""
        from allocator._async.quotas import AsyncQuotas  # noqa: PLC0415

        return AsyncQuotas(self._driver, self._defaults)

    @cached_property
    def queue(self) -> AsyncQueue:
        """Reads who waits in line, and takes requests out."""
        from allocator._async.queue import AsyncQueue  # noqa: PLC0415

        return AsyncQueue(self._driver, self._defaults)

    @cached_property
    def events(self) -> AsyncEvents:
        """Reads the changes of the pool."""
        from allocator._async.events import AsyncEvents  # noqa: PLC0415

        return AsyncEvents(self._driver, self._defaults)

    @cached_property
    def maintenance(self) -> AsyncMaintenance:
        """Reclaims, reconciles, audits, examines."""
        from allocator._async.maintenance import AsyncMaintenance  # noqa: PLC0415

        return AsyncMaintenance(self._driver, self._defaults)
