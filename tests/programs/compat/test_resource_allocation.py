"""`ResourceAllocation`: the original's fields, from and to its dict."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

import allocator
from allocator import Allocator, InvalidRequest, ResourceAllocation, ResourceAllocator
from tests.programs.compat.conftest import POOL, Make


async def test_the_dict_of_an_allocation_is_read_and_written_back_unchanged(make: Make) -> None:
    """Also with other resources, the limits as written, the fence and the pool."""
    status = await make().allocate_resources({"cpu": "1500m", "memory": "1.5Gi"}, allocation_id="labs/a/1")
    found = ResourceAllocation.from_dict(status)
    assert (found.allocation_id, found.cpu, found.memory_mb) == ("labs/a/1", 1.5, 1536)
    assert found.allocated_at == datetime.fromisoformat(status["allocated_at"])
    assert set(found.metadata) == {"original_limits", "fence", "pool"}
    assert found.to_dict() == status
    assert pickle.loads(pickle.dumps(found)) == copy.deepcopy(found) == found
    await make().release_resources(found.to_dict())


async def test_a_status_of_the_in_memory_original_is_read() -> None:
    """Its cores have a fraction, its instant an offset and microseconds."""
    stored = {
        "allocation_id": "alloc-000001",
        "cpu": "2.0",
        "memory": "4096Mi",
        "allocated_at": "2026-01-02T03:04:05.678901+00:00",
        "original_limits": "{'cpu': '2', 'memory': '4Gi'}",
    }
    found = ResourceAllocation.from_dict(stored)
    assert found == ResourceAllocation(
        "alloc-000001",
        2.0,
        4096,
        datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        {"original_limits": "{'cpu': '2', 'memory': '4Gi'}"},
    )
    assert found.to_dict() == {**stored, "cpu": "2", "allocated_at": "2026-01-02T03:04:05.678901Z"}


@pytest.mark.parametrize(("memory", "mebibytes"), [("322122548", 308), ("2G", 1908), ("1.5Gi", 1536), ("0Mi", 0)])
def test_memory_is_a_quantity_in_whole_mebibytes_rounded_up(memory: str, mebibytes: int) -> None:
    """The original read the first as 322,122,548 MiB."""
    stored = {"allocation_id": "a", "cpu": "1", "memory": memory, "allocated_at": "2026-01-02T03:04:05Z"}
    assert ResourceAllocation.from_dict(stored).memory_mb == mebibytes


WHOLE: dict[str, Any] = {"allocation_id": "a", "cpu": "1", "memory": "1Mi", "allocated_at": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in WHOLE for value in (None, 7)),
        *((field, value) for field in WHOLE if field != "allocation_id" for value in ("", "nonsense")),
    ],
)
def test_a_field_that_is_none_is_named(field: str, value: object) -> None:
    """A ValueError, as the original raised for most."""
    with pytest.raises(ValueError) as caught:
        ResourceAllocation.from_dict({**WHOLE, field: value})
    assert isinstance(caught.value, InvalidRequest)
    assert caught.value.field == field
    with pytest.raises(InvalidRequest):
        ResourceAllocation.from_dict(7)  # type: ignore[arg-type]


async def test_memory_is_charged_and_shown_in_whole_mebibytes(make: Make, store: str) -> None:
    """What the dict says is what is charged; an allocation that was made otherwise is rounded where it is shown."""
    one = make()
    held = await one.allocate_resources({"memory": "2G"})
    assert held["memory"] == "1908Mi"
    assert (await one.usage())["allocated_memory_mb"] == 1908
    with Allocator.from_url(store) as client:
        client.allocate({"memory": "322122548"}, ttl=60, id="other", metadata={"for": "x"})
    assert [each["memory"] for each in (await one.active_allocations()).values()] == ["1908Mi", "308Mi"]
    assert "original_limits" not in one.get_active_allocations()["other"]


async def test_limits_that_are_too_long_to_be_stored_are_left_out(make: Make, store: str) -> None:
    """The allocation matters more."""
    names = [f"{'e' * 50}.com/{'x' * 60}{number}" for number in range(30)]
    with Allocator.from_url(store) as client:
        client.pools.create(POOL, dict.fromkeys(names, 9))
    held = await make().allocate_resources(dict.fromkeys(names, "1." + "0" * 28))
    assert "original_limits" not in held


async def test_active_allocations_are_listed_oldest_first(make: Make) -> None:
    """As the in-memory dict was."""
    one = make(total_cpu=100.0)
    made = [(await one.allocate_resources({"cpu": "1"}))["allocation_id"] for _ in range(20)]
    assert list(one.get_active_allocations()) == made
    assert list(await one.active_allocations()) == made


def test_the_package_takes_the_place_of_the_originals_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's import stays as it is."""
    monkeypatch.setitem(sys.modules, "integration.services.resource_allocator", allocator)
    module = importlib.import_module("integration.services.resource_allocator")
    assert module.ResourceAllocator is ResourceAllocator
    assert module.ResourceAllocation is ResourceAllocation
