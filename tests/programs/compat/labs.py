"""A replica of the original's controller: `python -m tests.programs.compat.labs URL FOLDER FIRST LAST`.

Each lab is a file with its status.  The controller is the original document's: it checks in one phase, allocates in the
next, and takes a ValueError there for the failure of the lab.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from allocator import ResourceAllocator

LIMITS: Final = {"cpu": "1", "memory": "1Gi"}
CPUS: Final = 8
ENDED: Final = ("Completed", "Failed")

REQUEUE_S: Final = 0.05
"""The original waits two minutes."""


async def pass_time(seconds: float) -> None:
    """What a controller waits for: the time of its loop, or of a container."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, passed.set)
    await passed.wait()


class Lab:
    """One lab; its status is stored at each change of phase, whole or not at all."""

    def __init__(self, folder: Path, number: int) -> None:
        self.path = folder / f"lab-{number}.json"
        self.phase = "Pending"
        self.allocation: dict[str, str] | None = None
        if self.path.exists():
            stored: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            self.phase, self.allocation = stored["phase"], stored["allocation"]

    def set(self, phase: str) -> None:
        self.phase = phase
        status = json.dumps({"phase": phase, "allocation": self.allocation})
        draft = self.path.with_suffix(".draft")
        draft.write_text(status, encoding="utf-8")
        draft.replace(self.path)


class LabInstanceController:
    """Moves a lab through its phases."""

    def __init__(self, resource_allocator: Any) -> None:
        self.resource_allocator = resource_allocator

    async def reconcile(self, lab: Lab) -> None:
        while lab.phase not in ENDED:
            match lab.phase:
                case "Pending":
                    if not await self.resource_allocator.check_availability(LIMITS):
                        await pass_time(REQUEUE_S)
                        continue
                    lab.set("Scheduled")
                case "Scheduled":
                    await pass_time(0.001)  # the phase is stored; others check meanwhile
                    try:
                        lab.allocation = await self.resource_allocator.allocate_resources(LIMITS)
                    except ValueError:
                        lab.set("Failed")
                    else:
                        lab.set("Running")
                case _:
                    await pass_time(0.005)
                    await self.resource_allocator.release_resources(lab.allocation)
                    lab.set("Completed")


async def run(allocator: Any, folder: Path, first: int, last: int) -> None:
    """Reconcile labs side by side, each as a task, until each has ended.

    A lab that a dead replica had scheduled begins again: what it was promised has gone with that replica.
    """
    controller = LabInstanceController(allocator)
    labs = [Lab(folder, number) for number in range(first, last)]
    for lab in labs:
        if lab.phase == "Scheduled":
            lab.set("Pending")
    async with asyncio.TaskGroup() as group:
        for lab in labs:
            group.create_task(controller.reconcile(lab))


async def main(url: str, folder: Path, first: int, last: int) -> None:
    async with ResourceAllocator(CPUS, 2 * CPUS, url=url, ttl=10, reserve_on_check=10, timeout=30) as allocator:
        await run(allocator, folder, first, last)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
