"""Every Python example of the original document, as written there but for the assertions: a drop-in has to drop in."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from allocator import ResourceAllocator
from tests.programs.compat.conftest import Make


@dataclass
class Spec:
    resource_limits: dict[str, str]


@dataclass
class Status:
    resource_allocation: dict[str, str] | None = None


@dataclass
class LabInstanceRequest:
    spec: Spec
    status: Status = field(default_factory=Status)


@dataclass
class ReconciliationResult:
    delay: timedelta
    message: str

    @classmethod
    def requeue_after(cls, delay: timedelta, message: str) -> ReconciliationResult:
        return cls(delay, message)


class LabInstanceController:
    """The four excerpts of the document, in one class."""

    def __init__(self, resource_allocator: ResourceAllocator) -> None:
        self.resource_allocator = resource_allocator

    async def _check_resource_availability(self, resource: LabInstanceRequest) -> bool:
        return await self.resource_allocator.check_availability(resource.spec.resource_limits)

    async def _reconcile_pending_phase(self, resource: LabInstanceRequest) -> ReconciliationResult | None:
        # Check resource availability
        resources_available = await self._check_resource_availability(resource)
        if not resources_available:
            return ReconciliationResult.requeue_after(timedelta(minutes=2), "Waiting for resources to become available")
        return None

    async def _transition_to_provisioning(self, resource: LabInstanceRequest) -> None:
        # Allocate resources
        allocation = await self.resource_allocator.allocate_resources(resource.spec.resource_limits)

        # Store allocation in resource status
        resource.status.resource_allocation = allocation

    async def _transition_to_completed(self, resource: LabInstanceRequest) -> None:
        # Release resources
        if resource.status.resource_allocation:
            await self.resource_allocator.release_resources(resource.status.resource_allocation)


async def test_the_controllers_life_cycle_works_as_the_document_shows_it(make: Make) -> None:
    """Pending, Provisioning, Completed, with a second lab that has to wait in between."""
    controller = LabInstanceController(make(total_cpu=2.0, total_memory_gb=4))
    first = LabInstanceRequest(Spec({"cpu": "2", "memory": "4Gi"}))
    second = LabInstanceRequest(Spec({"cpu": "0.5", "memory": "512Mi"}))

    assert await controller._reconcile_pending_phase(first) is None
    await controller._transition_to_provisioning(first)
    waiting = await controller._reconcile_pending_phase(second)
    assert waiting is not None
    assert waiting.delay == timedelta(minutes=2)
    await controller._transition_to_completed(first)
    assert await controller._reconcile_pending_phase(second) is None


@pytest.mark.parametrize(
    ("limits", "cpu", "memory"),
    [
        ({"cpu": "1", "memory": "2Gi"}, "1", "2048Mi"),
        ({"cpu": "0.5", "memory": "512Mi"}, "0.5", "512Mi"),
        ({"cpu": "2.5", "memory": "4Gi"}, "2.5", "4096Mi"),
        ({"cpu": "1", "memory": "1Gi"}, "1", "1024Mi"),
        ({"cpu": "1", "memory": "1024Mi"}, "1", "1024Mi"),
        ({"cpu": "1", "memory": "2G"}, "1", "1908Mi"),
    ],
)
async def test_each_format_of_the_document_is_taken(make: Make, limits: dict[str, str], cpu: str, memory: str) -> None:
    """`2G` is the one that means something else than in the sample: 2,000,000,000 bytes, in whole MiB."""
    allocation = await make().allocate_resources(limits)
    assert (allocation["cpu"], allocation["memory"]) == (cpu, memory)


async def test_the_usage_dict_is_the_documents_to_the_key_and_to_the_type(make: Make) -> None:
    """The document's own numbers; MiB are ints, as shown."""
    allocator = make(total_cpu=8.0, total_memory_gb=16)
    await allocator.allocate_resources({"cpu": "2", "memory": "4Gi"})
    await allocator.allocate_resources({"cpu": "1", "memory": "2Gi"})
    documented = {
        "total_cpu": 8.0,
        "allocated_cpu": 3.0,
        "available_cpu": 5.0,
        "cpu_utilization": 37.5,
        "total_memory_mb": 16384,
        "allocated_memory_mb": 6144,
        "available_memory_mb": 10240,
        "memory_utilization": 37.5,
        "active_allocations": 2,
    }
    for usage in (allocator.get_resource_usage(), await allocator.usage()):
        assert usage == documented
        assert list(usage) == list(documented)
        assert {name: type(number) for name, number in usage.items()} == {
            name: type(number) for name, number in documented.items()
        }


async def test_the_tracking_and_monitoring_examples_print_what_they_should(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also `alloc_info['memory']` of an allocation that holds no memory: the example must not fail on a bystander."""
    allocator = make(total_cpu=2.0, total_memory_gb=4)
    full = await allocator.allocate_resources({"cpu": "1.9", "memory": "3900Mi"})
    small = await allocator.allocate_resources({"cpu": "0.1"})
    capsys.readouterr()

    usage = allocator.get_resource_usage()
    print(f"CPU: {usage['cpu_utilization']:.1f}%")
    print(f"Memory: {usage['memory_utilization']:.1f}%")
    print(f"Active allocations: {usage['active_allocations']}")
    if usage["cpu_utilization"] > 80:
        print("High CPU utilization warning")
    if usage["memory_utilization"] > 90:
        print("High memory utilization warning")
    assert capsys.readouterr().out.splitlines() == [
        "CPU: 100.0%",
        "Memory: 95.2%",
        "Active allocations: 2",
        "High CPU utilization warning",
        "High memory utilization warning",
    ]

    allocations = allocator.get_active_allocations()
    for alloc_id, alloc_info in allocations.items():
        print(f"{alloc_id}: {alloc_info['cpu']} CPU, {alloc_info['memory']} Memory")
    assert set(capsys.readouterr().out.splitlines()) == {
        f"{full['allocation_id']}: 1.9 CPU, 3900Mi Memory",
        f"{small['allocation_id']}: 0.1 CPU, 0Mi Memory",
    }


async def test_the_method_examples_work(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Check, allocate, release, and the error handling around them."""
    allocator = make()

    available = await allocator.check_availability({"cpu": "2", "memory": "4Gi"})
    if available:
        print("Resources are available")
    allocation = await allocator.allocate_resources({"cpu": "2", "memory": "4Gi"})
    print(f"Allocated: {allocation['allocation_id']}")
    await allocator.release_resources(allocation)
    print("Resources released")

    resource_limits = {"cpu": "9", "memory": "4Gi"}
    try:
        allocation = await allocator.allocate_resources(resource_limits)
    except ValueError as e:
        # Handle insufficient resources
        print(f"Resource allocation failed: {e}")

    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Resources are available", f"Allocated: {allocation['allocation_id']}", "Resources released"]
    assert lines[3].startswith("Resource allocation failed: Insufficient resources available. Requested: cpu=9, ")


async def test_the_cleanup_example_counts_what_it_takes(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is a day old here, so it takes nothing and says nothing."""
    allocator = make()
    await allocator.allocate_resources({"cpu": "1"})
    cleaned_up = await allocator.cleanup_expired_allocations(max_age_hours=24)
    if cleaned_up > 0:
        print(f"Cleaned up {cleaned_up} expired allocations")
    assert cleaned_up == 0
    assert capsys.readouterr().out == ""


def test_the_configuration_examples_construct(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Development, production, environment; the URL, which the document does not know, comes from the environment."""
    monkeypatch.setenv("ALLOCATOR_REDIS_URL", store)
    with ResourceAllocator(
        total_cpu=4.0,  # 4 CPU cores
        total_memory_gb=8,  # 8 GB RAM
    ) as allocator:
        assert (allocator.total_cpu, allocator.total_memory_mb) == (4.0, 8192)
    with ResourceAllocator(
        total_cpu=64.0,  # 64 CPU cores
        total_memory_gb=256,  # 256 GB RAM
    ) as allocator:
        assert (allocator.total_cpu, allocator.total_memory_mb) == (64.0, 262144)
    with ResourceAllocator(
        total_cpu=float(os.getenv("TOTAL_CPU_CORES", "32")), total_memory_gb=int(os.getenv("TOTAL_MEMORY_GB", "128"))
    ) as allocator:
        assert allocator.get_resource_usage()["total_cpu"] == 32.0
        assert allocator.get_resource_usage()["total_memory_mb"] == 131072
