"""A crash-safe reconcile loop, in real processes: `python -m examples.reconcile_loop [URL]`.

The one dangerous moment of a controller is between "the allocator granted it" and "the status says so".  A replica that
dies there has taken capacity that nobody remembers.  Two things make it harmless:

- The id of the allocation follows from the object (`namespace/name/uid`).  The replica that takes over makes the same
  call and gets the allocation that stands, with the same fence; nothing is charged twice.
- It has a time to live, and each pass of the loop renews it.  An object that vanished together with its controllers
  frees what it held when the time is over.

The status keeps the deadline that the allocator returned, for what runs the lab: it has to stop by then unless a later
pass moved it.  Behind Sentinel that deadline may be earlier than now + ttl.

Without a URL it runs on a server of its own.  It plays this: replica A allocates and kills itself before it writes the
status; replica B takes over, finds the allocation and writes the status; replica C completes the lab and releases what
the status names.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from allocator import Allocation, AllocationLost, Allocator, Denial, UnknownAllocation
from allocator.testing import PrivateServer

POOL = "reconcile-loop"
TTL_S = 60.0
"""Seconds.  Several passes of the loop: one that is late loses nothing."""


class Objects:
    """Stands for the API server: one JSON file for each object, replaced whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> dict[str, Any]:
        """The object as it was last written."""
        found: dict[str, Any] = json.loads((self._folder / f"{name}.json").read_text())
        return found

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Replace it."""
        fresh = self._folder / f"{name}.new"
        fresh.write_text(json.dumps(value))
        fresh.replace(self._folder / f"{name}.json")


def reconcile(allocator: Allocator, objects: Objects, name: str, *, crash: bool = False) -> str:
    """One pass for one object.  Whatever it did before it died, the next pass, in any replica, may repeat it.

    Returns:
        What it did, for people.
    """
    lab = objects.read(name)
    allocation_id = f"{lab['namespace']}/{lab['name']}/{lab['uid']}"
    held = lab["status"].get("allocation")

    if lab["spec"]["done"]:
        # By id, also where the status names none: whoever allocated may have died before it could write that down.
        released = allocator.release(allocation_id, fence=held["fence"] if held else None)
        objects.write(name, {**lab, "status": {"phase": "Completed"}})
        return f"completed the lab: its allocation is {released.outcome}"

    if held:
        try:
            renewal = allocator.renew(allocation_id, fence=held["fence"])
        except (UnknownAllocation, AllocationLost):
            objects.write(name, {**lab, "status": {"phase": "Pending", "reason": "its allocation was lost"}})
            return "its allocation was lost: it starts anew"
        held = {**held, "deadline_ms": renewal.deadline_ms}
        objects.write(name, {**lab, "status": {**lab["status"], "allocation": held}})
        return "renewed its allocation"

    outcome: Allocation | Denial = allocator.try_allocate(
        lab["spec"]["limits"], ttl=TTL_S, id=allocation_id, owner=lab["namespace"]
    )
    if isinstance(outcome, Denial):
        objects.write(name, {**lab, "status": {"phase": "Pending", "reason": str(outcome)}})
        return f"must wait: {outcome}"
    if crash:
        print(f"was granted fence {outcome.fence}, and dies before it writes the status", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    held = {"id": outcome.id, "fence": outcome.fence, "deadline_ms": outcome.deadline_ms}
    objects.write(name, {**lab, "status": {"phase": "Running", "allocation": held}})
    return f"{'was granted' if outcome.created else 'found'} fence {outcome.fence}, and wrote the status"


def replica(url: str, folder: str, name: str, mode: str) -> None:
    """The life of a replica in this example: one pass."""
    with Allocator.from_url(url, pool=POOL) as allocator:
        print(reconcile(allocator, Objects(Path(folder)), name, crash=mode == "crash"), flush=True)


def run(title: str, url: str, folder: Path, name: str, mode: str = "") -> int:
    """Run a replica as a process and say what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.reconcile_loop", "--replica", url, str(folder), name, mode],
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    print(f"replica {title}: {done.stdout.strip()}", flush=True)
    return done.returncode


def main(url: str) -> None:
    """Play the crash and the take-over, and check the ledger after each step."""
    lab: dict[str, Any] = {
        "namespace": "labs",
        "name": "python-basics",
        "uid": "7f9c2e",
        "spec": {"limits": {"cpu": "2", "memory": "4Gi"}, "done": False},
        "status": {"phase": "Pending"},
    }
    with tempfile.TemporaryDirectory() as temporary, Allocator.from_url(url, pool=POOL) as allocator:
        folder, objects = Path(temporary), Objects(Path(temporary))
        allocator.pools.delete(POOL, force=True)  # what an earlier run left, had it been interrupted
        allocator.pools.create(POOL, {"cpu": "4", "memory": "8Gi"})
        objects.write("lab", lab)

        assert run("A", url, folder, "lab", "crash") == -signal.SIGKILL
        orphan = next(allocator.list())
        assert "allocation" not in objects.read("lab")["status"]

        assert run("B", url, folder, "lab") == 0
        held = objects.read("lab")["status"]["allocation"]
        assert (held["id"], held["fence"]) == (orphan.id, orphan.fence), held
        assert allocator.pools.usage().allocations == 1

        assert run("B", url, folder, "lab") == 0
        assert objects.read("lab")["status"]["allocation"]["deadline_ms"] > held["deadline_ms"]

        objects.write("lab", {**objects.read("lab"), "spec": {**lab["spec"], "done": True}})
        assert run("C", url, folder, "lab") == 0
        assert allocator.pools.usage().allocations == 0
        assert allocator.maintenance.audit()
        allocator.pools.delete(POOL)
    print("one grant, one fence, nothing leaked")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--replica"]:
        replica(*sys.argv[2:6])
    elif sys.argv[1:]:
        main(sys.argv[1])
    else:
        with PrivateServer() as server:
            main(server.url)
