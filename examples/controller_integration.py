"""A lab controller with the original API: `python -m examples.controller_integration [URL]`.

Labs go through Pending, Provisioning, Running and Completed or Failed, against a pool that is too small for all of
them at once.  Three things differ from the controller that the original document shows, for replicas share the pool:

- The allocation has the lab's own id, so that a repeated reconcile finds it and does not allocate a second time.
- It goes into the status before the container is made, so that whoever handles the failure has something to release.
- "Full" is the answer of `allocate_resources` itself (a ValueError: try again later), because between a check that says
  yes and the allocation another replica may be faster.  A lab that can never fit fails instead of waiting for ever.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from enum import StrEnum

from allocator import Insufficient, ResourceAllocator


class Phase(StrEnum):
    """Where a lab is in its life."""

    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"


@dataclass
class Status:
    """What the controller writes back; in a real one it is stored as JSON."""

    phase: Phase = Phase.PENDING
    message: str = ""
    resource_allocation: dict[str, str] | None = None


@dataclass
class LabInstanceRequest:
    """One lab: what it wants, and how it stands."""

    name: str
    resource_limits: dict[str, str]
    rounds: int = 2
    """How many rounds of the reconcile loop it runs for."""
    broken: bool = False
    """Whether its container will not start."""
    status: Status = field(default_factory=Status)

    @property
    def uid(self) -> str:
        """The id of its allocation: the same in every replica and after every restart."""
        return f"labs/{self.name}/1"


class ContainerError(Exception):
    """The container did not start."""


class LabInstanceController:
    """Moves each lab one phase further whenever it is reconciled."""

    def __init__(self, resource_allocator: ResourceAllocator) -> None:
        self.resource_allocator = resource_allocator

    async def reconcile(self, lab: LabInstanceRequest) -> None:
        """One round of the loop for one lab."""
        match lab.status.phase:
            case Phase.PENDING:
                await self._reconcile_pending_phase(lab)
            case Phase.PROVISIONING:
                await self._reconcile_provisioning_phase(lab)
            case Phase.RUNNING:
                await self._reconcile_running_phase(lab)
            case Phase.COMPLETED | Phase.FAILED:
                pass

    async def _reconcile_pending_phase(self, lab: LabInstanceRequest) -> None:
        try:
            allocation = await self.resource_allocator.allocate_resources(lab.resource_limits, allocation_id=lab.uid)
        except Insufficient as error:
            self._set(lab, Phase.FAILED if error.denial.never else Phase.PENDING, str(error))
            return
        lab.status.resource_allocation = allocation
        self._set(lab, Phase.PROVISIONING, f"holds {allocation['cpu']} CPU, {allocation['memory']}")

    async def _reconcile_provisioning_phase(self, lab: LabInstanceRequest) -> None:
        try:
            self._create_container(lab)
        except ContainerError as error:
            await self._end(lab, Phase.FAILED, str(error))
        else:
            self._set(lab, Phase.RUNNING, "container is up")

    async def _reconcile_running_phase(self, lab: LabInstanceRequest) -> None:
        lab.rounds -= 1
        if lab.rounds <= 0:
            await self._end(lab, Phase.COMPLETED, "lab is over")

    async def _end(self, lab: LabInstanceRequest, phase: Phase, message: str) -> None:
        if lab.status.resource_allocation:
            await self.resource_allocator.release_resources(lab.status.resource_allocation)
        lab.status.resource_allocation = None
        self._set(lab, phase, message)

    def _create_container(self, lab: LabInstanceRequest) -> None:
        if lab.broken:
            raise ContainerError("the container did not start")

    def _set(self, lab: LabInstanceRequest, phase: Phase, message: str) -> None:
        if (lab.status.phase, lab.status.message) != (phase, message):
            print(f"  {lab.name:<16} {phase:<13} {message}")
        lab.status.phase, lab.status.message = phase, message


async def main(url: str) -> None:
    """Reconcile the labs until each of them has ended, and check what is left: nothing."""
    labs = [
        LabInstanceRequest("python-basics", {"cpu": "2", "memory": "4Gi"}),
        LabInstanceRequest("data-science", {"cpu": "1.5", "memory": "3Gi"}, rounds=3),
        LabInstanceRequest("broken-image", {"cpu": "500m", "memory": "512Mi"}, broken=True),
        LabInstanceRequest("deep-learning", {"cpu": "3", "memory": "6Gi"}),
        LabInstanceRequest("whole-cluster", {"cpu": "48", "memory": "96Gi"}),
    ]
    async with ResourceAllocator(total_cpu=4.0, total_memory_gb=8, url=url, pool="controller-integration") as allocator:
        controller = LabInstanceController(allocator)
        for lab in labs:
            now = await allocator.check_availability(lab.resource_limits)
            print(f"  {lab.name:<16} {'could start now' if now else 'would have to wait'}")
        while any(lab.status.phase not in {Phase.COMPLETED, Phase.FAILED} for lab in labs):
            for lab in labs:
                await controller.reconcile(lab)
            usage = await allocator.usage()
            print(
                f"CPU {usage['cpu_utilization']:.1f}%  memory {usage['memory_utilization']:.1f}%  "
                f"active allocations {usage['active_allocations']}"
            )
        left = await allocator.active_allocations()
    assert [lab.status.phase for lab in labs].count(Phase.COMPLETED) == 3, labs
    assert not left, left


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "memory://"))
