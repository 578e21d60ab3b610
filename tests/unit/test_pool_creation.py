"""`create(update=True)` as a flow: the generation that it names, and how often it starts again."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import settings
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.pool_creation import PoolSpec, create
from allocator._engine.protocol.flows import Call
from allocator.errors import PoolConflict

DEFAULTS = Defaults("default", "allocator", None)


def stored(generation: int, cpu: int) -> list[Any]:
    """The fields of a pool in a reply."""
    fields = {
        "epoch": "e", "generation": generation, "revision": generation, "schema": 1, "created_ms": 1,
        "state": "active", "cpu.capacity": cpu, "cpu.allocated": 0,
    }  # fmt: skip
    return [word for pair in fields.items() for word in map(str, pair)]


def mode_and_generation(call: Call) -> tuple[Any, Any]:
    """What a call asks for."""
    return call.items[0].args[0], call.items[0].args[2]


def test_an_update_that_meets_another_change_starts_again() -> None:
    """With the generation that it then reads."""
    flow = create(DEFAULTS, "lab", PoolSpec({"cpu": 2}), update=True)
    assert mode_and_generation(next(flow)) == ("create", 0)  # type: ignore[arg-type]
    assert mode_and_generation(flow.send([["exists", *stored(4, 1000)]])) == ("change", 4)  # type: ignore[arg-type]
    assert mode_and_generation(flow.send([["generation", 5]])) == ("create", 0)  # type: ignore[arg-type]
    assert mode_and_generation(flow.send([["exists", *stored(5, 1000)]])) == ("change", 5)  # type: ignore[arg-type]
    with pytest.raises(StopIteration) as done:
        flow.send([["configured", *stored(6, 2000)]])
    assert done.value.value.generation == 6


def test_an_update_gives_up_in_the_end() -> None:
    """Rather than to loop."""
    flow = create(DEFAULTS, "lab", PoolSpec({"cpu": 2}), update=True)
    next(flow)
    with pytest.raises(PoolConflict) as caught:
        for generation in range(1, 100):
            flow.send([["exists", *stored(generation, 1000)]])
            flow.send([["generation", generation + 1]])
    assert caught.value.code == "generation"
    assert generation == settings.POOL_UPDATES_MAX


def test_a_change_that_made_the_update_needless_ends_it() -> None:
    """Another replica with the same values was quicker."""
    flow = create(DEFAULTS, "lab", PoolSpec({"cpu": 2}), update=True)
    next(flow)
    flow.send([["exists", *stored(4, 1000)]])
    flow.send([["generation", 5]])
    with pytest.raises(StopIteration) as done:
        flow.send([["exists", *stored(5, 2000)]])
    assert done.value.value.generation == 5
