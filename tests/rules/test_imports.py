"""What importing a client loads: little beside redis, and nothing that only the other client needs."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import Final

import pytest

import allocator
from tests.rules.sources import ROOT

CLIENTS: Final = ("Allocator", "AsyncAllocator")

OURS_MAX: Final = 82
"""Modules of the package that a client may load: each takes a third of a millisecond or more."""

STANDARD: Final = {"_decimal", "decimal", "hmac", "numbers", "secrets"}
"""Modules of Python that redis-py does not load: those of quantities and of random names."""

AWAITED: Final = {"_async", "_engine.leases.blocking_async"} | {
    f"_engine.{name}"
    for name in (
        "execution.batch_items",
        "execution.batch_queues",
        "execution.batching",
        "execution.driver_async",
        "execution.loop_state",
        "execution.undo_worker_async",
        "transport.cluster_async",
        "transport.connections_async",
        "transport.router_async",
        "transport.sentinel_async",
    )
}
"""What only a client for event loops needs."""

BLOCKING: Final = {"_sync"} | {
    f"_engine.{name}"
    for name in (
        "execution.driver",
        "execution.invocation",
        "execution.undo_worker",
        "transport.cluster",
        "transport.connections",
        "transport.router",
        "transport.sentinel",
    )
}
"""What only a client that blocks, and the thread that renews a hold, needs."""

LATER: Final = {
    "_engine.execution.listener",  # until something waits
    "_engine.execution.listener_async",
    "_engine.execution.wake_waits",
    "_engine.execution.wake_waits_async",
    "_engine.leases",  # until something is held
    "_engine.protocol.inlining",  # until something is sent
    "_engine.protocol.linker",
    "_engine.servers",  # until a server is started
    "compat",
    "hold",
    "testing",
}
"""What is loaded when it is first used."""


@cache
def _loaded(statement: str) -> frozenset[str]:
    """The modules that a new process has after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(ran.stdout.split())


def _beyond_redis(name: str) -> frozenset[str]:
    return _loaded(f"from allocator import {name}") - _loaded("import redis")


def _ours(name: str) -> set[str]:
    """Modules of the package, and the packages that they stand in."""
    loaded = [one.removeprefix("allocator.") for one in _beyond_redis(name) if one.startswith("allocator.")]
    return {".".join(one.split(".")[:length]) for one in loaded for length in range(1, one.count(".") + 2)}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_loads_little_beside_redis(name: str) -> None:
    """No part of redis-py that redis-py itself does not load, and hardly anything of Python."""
    ours = {one for one in _beyond_redis(name) if one.partition(".")[0] == "allocator"}
    assert _beyond_redis(name) - ours <= STANDARD
    assert len(ours) <= OURS_MAX


@pytest.mark.parametrize("name", CLIENTS)
def test_what_few_programs_use_is_loaded_on_its_first_use(name: str) -> None:
    """Holds start threads, `embedded://` starts a server, and nothing is linked before the first call."""
    assert _ours(name) & LATER == set()


def test_neither_client_loads_the_other_ones_modules() -> None:
    """The lists name modules that there are, and each client loads all of its half but for holds."""
    assert _ours("Allocator") & AWAITED == set()
    assert _ours("AsyncAllocator") & BLOCKING == set()
    assert _ours("Allocator") >= BLOCKING
    assert AWAITED - _ours("AsyncAllocator") == {"_engine.leases.blocking_async"}


def test_every_public_name_is_listed_and_can_be_imported_at_once() -> None:
    """Also those that are imported on their first use."""
    program = "import allocator\nprint(*dir(allocator))\nfrom allocator import *\nprint(*globals())"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    listed, imported = (set(line.split()) for line in ran.stdout.splitlines())
    public = set(allocator.__all__)
    assert public | {"__version__"} <= listed
    assert public <= imported
