"""Clients of an in-process store in which their pool exists, one of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from allocator import settings
from allocator._async.client import AsyncAllocator
from allocator._engine.operations.defaults import Defaults
from allocator._engine.transport.urls import resolve_target
from allocator._sync.client import Allocator
from allocator.compat.resource_allocator import ResourceAllocator
from allocator.models.allocations import Ttl
from allocator.models.preemption import PreemptionPolicy
from allocator.models.queue import QueuePolicy
from allocator.models.resource_units import ResourceUnits
from allocator.quantity import Quantity
from allocator.testing.clock import Clock
from allocator.testing.store import MemoryStore, store_of

__all__ = ["memory_allocator", "memory_async_allocator", "memory_resource_allocator"]

POOL = "test"
"""The pool where a test names none."""


def memory_allocator(
    capacity: Mapping[str, Quantity],
    *,
    pool: str = POOL,
    store: str | MemoryStore | None = None,
    clock: Clock | None = None,
    whole_units: Iterable[str] = (),
    units: Mapping[str, ResourceUnits] | None = None,
    recovery_grace: float | timedelta | None = None,
    max_ttl: float | timedelta | None = None,
    durability: str | None = None,
    queue: QueuePolicy | None = None,
    preemption: PreemptionPolicy | None = None,
    owner: str | None = None,
    prefix: str = settings.PREFIX_DEFAULT,
    timeout: float = settings.DEADLINE_S,
) -> Allocator:
    """A client of an in-process server in which `pool` exists.  It needs the extra `embedded`.

    Args:
        capacity: The capacity of the pool, unless it exists already.
        pool: The client's pool.
        store: The store, or its name, that other clients share as `memory://NAME`; None: a new one.
        clock: Replaces this machine's clock for all clients of a new store.
        whole_units, units, recovery_grace, max_ttl, durability, queue, preemption: Of the pool, as for `pools.create`.
            It does not begin recovering.
        owner, prefix, timeout: As for `Allocator`.

    Raises:
        InvalidRequest: An argument is invalid, or the store exists with another clock.
    """
    defaults = Defaults(pool, prefix, owner, timeout)
    shared = store_of(store, clock)
    with shared.faultless(defaults) as maker:
        maker.pools.create(
            pool,
            capacity,
            whole_units=whole_units,
            units=units,
            recovery_grace=recovery_grace,
            max_ttl=max_ttl,
            durability=durability,
            queue=queue,
            preemption=preemption,
            new=True,
        )
    return Allocator._on(resolve_target(shared.url), defaults, shared.clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def memory_async_allocator(
    capacity: Mapping[str, Quantity],
    *,
    pool: str = POOL,
    store: str | MemoryStore | None = None,
    clock: Clock | None = None,
    whole_units: Iterable[str] = (),
    units: Mapping[str, ResourceUnits] | None = None,
    recovery_grace: float | timedelta | None = None,
    max_ttl: float | timedelta | None = None,
    durability: str | None = None,
    queue: QueuePolicy | None = None,
    preemption: PreemptionPolicy | None = None,
    owner: str | None = None,
    prefix: str = settings.PREFIX_DEFAULT,
    timeout: float = settings.DEADLINE_S,
) -> AsyncAllocator:
    """`memory_allocator` for an event loop, with the same arguments."""
    shared = store_of(store, clock)
    with memory_allocator(
        capacity,
        pool=pool,
        store=shared,
        whole_units=whole_units,
        units=units,
        recovery_grace=recovery_grace,
        max_ttl=max_ttl,
        durability=durability,
        queue=queue,
        preemption=preemption,
        owner=owner,
        prefix=prefix,
        timeout=timeout,
    ) as made:
        defaults = made._defaults  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return AsyncAllocator._on(resolve_target(shared.url), defaults, shared.clock)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def memory_resource_allocator(
    total_cpu: float = 32.0,
    total_memory_gb: int = 128,
    *,
    capacity: Mapping[str, Quantity] | None = None,
    pool: str = POOL,
    store: str | MemoryStore | None = None,
    clock: Clock | None = None,
    ttl: Ttl = None,
    whole_units: Iterable[str] = (),
    units: Mapping[str, ResourceUnits] | None = None,
    recovery_grace: float | timedelta | None = None,
    max_ttl: float | timedelta | None = None,
    durability: str | None = None,
    queue: QueuePolicy | None = None,
    preemption: PreemptionPolicy | None = None,
    owner: str | None = None,
    prefix: str = settings.PREFIX_DEFAULT,
    timeout: float = settings.DEADLINE_S,
) -> ResourceAllocator:
    """The original API on an in-process server in which `pool` exists.

    `ResourceAllocator(url=store.url, pool=...)`, with any of its arguments, uses the store's clock and faults as well.

    Args:
        total_cpu, total_memory_gb: The totals of the pool, unless it exists already.
        capacity: Further resources of the pool, such as `{"nvidia.com/gpu": 8}`.
        ttl: As for `ResourceAllocator`; `recovery_grace` requires it.
        pool, store, clock, whole_units, units, recovery_grace, max_ttl, durability, queue, preemption, owner, prefix,
            timeout: As for `memory_allocator`.
    """
    shared = store_of(store, clock)
    made = ResourceAllocator(
        total_cpu,
        total_memory_gb,
        url=shared.url,
        pool=pool,
        ttl=ttl,
        recovery_grace=recovery_grace,
        owner=owner,
        prefix=prefix,
        timeout=timeout,
    )
    totals: dict[str, Quantity] = {"cpu": total_cpu, "memory": f"{total_memory_gb}Gi"}
    memory_allocator(
        totals | dict(capacity or {}),
        pool=pool,
        store=shared,
        whole_units=whole_units,
        units=units,
        recovery_grace=recovery_grace,
        max_ttl=max_ttl,
        durability=durability,
        queue=queue,
        preemption=preemption,
        prefix=prefix,
    ).close()
    return made
