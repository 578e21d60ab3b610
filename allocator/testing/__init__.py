"""Test tools for programs that use this library: in-process stores, a clock, faults, a private server.

- `memory_allocator`, `memory_async_allocator`, `memory_resource_allocator`: a client of each kind, in one line and
  without a process.  They may share a `MemoryStore`.
- `Clock`: a clock that advances only on request, so that leases lapse without waiting.
- `faults`: the server is down, a reply is lost, a pool is full, a pool recovers.
- `PrivateServer`: a real server that ends with the program, for tests with several processes.

The pytest plugin `allocator_pytest` has fixtures of them.  docs/testing.md shows a suite.

::

    clock = Clock()
    allocator = memory_allocator({"cpu": 4, "memory": "8Gi"}, clock=clock)
    held = allocator.allocate({"cpu": 4}, ttl=30)
    clock.advance(31)                                # as if its holder had died
    assert allocator.try_allocate({"cpu": 1}, ttl=30)
    with faults(allocator).down():
        controller.reconcile()                       # meets BackendUnavailable, without waiting
"""

from __future__ import annotations

from allocator._engine.servers.embedded import PrivateServer
from allocator._engine.transport.fault_switch import InjectedFault
from allocator.testing.clients import memory_allocator, memory_async_allocator, memory_resource_allocator
from allocator.testing.clock import Clock
from allocator.testing.faults import AnyClient, Faults, Verb, faults, wait_undone, wait_undone_async
from allocator.testing.store import MemoryStore

__all__ = [
    "AnyClient",
    "Clock",
    "Faults",
    "InjectedFault",
    "MemoryStore",
    "PrivateServer",
    "Verb",
    "faults",
    "memory_allocator",
    "memory_async_allocator",
    "memory_resource_allocator",
    "wait_undone",
    "wait_undone_async",
]
