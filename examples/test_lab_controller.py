"""A pytest suite of a user's controller: `pytest examples`, or `python -m examples.test_lab_controller`.

The fixtures come from the plugin `allocator_pytest`.  No test waits, and none needs a server but the last.
"""

from __future__ import annotations

import os
import sys

import pytest

from allocator import Allocator
from allocator.testing import Clock, Faults, PrivateServer, wait_undone
from examples.lab_controller import TTL_S, Lab, LabController


@pytest.fixture
def allocator_capacity() -> dict[str, str]:
    """Room for two labs of two CPUs."""
    return {"cpu": "4", "memory": "8Gi"}


@pytest.fixture
def allocator_options() -> dict[str, float]:
    """The pool of the controller has a recovery grace."""
    return {"recovery_grace": TTL_S + 5}


@pytest.fixture
def controller(allocator: Allocator) -> LabController:
    """The controller under test."""
    return LabController(allocator)


def new_lab(name: str = "python-basics") -> Lab:
    """A lab that waits."""
    return Lab(name, {"cpu": "2", "memory": "4Gi"})


def test_a_lab_runs_and_gives_back(controller: LabController, allocator: Allocator) -> None:
    """The ordinary life."""
    lab = new_lab()
    controller.reconcile(lab)
    assert lab.phase == "Running"
    lab.done = True
    controller.reconcile(lab)
    assert lab.phase == "Completed"
    assert allocator.pools.usage().allocations == 0


def test_a_full_pool_is_waited_for(controller: LabController, allocator_faults: Faults) -> None:
    """The reason has the numbers, and the lab starts once there is room."""
    lab = new_lab()
    with allocator_faults.full("cpu"):
        controller.reconcile(lab)
    assert lab.phase == "Pending"
    assert "cpu requested=2 available=0" in lab.reason
    controller.reconcile(lab)
    assert lab.phase == "Running"


def test_an_outage_is_not_taken_for_a_full_pool(controller: LabController, allocator_faults: Faults) -> None:
    """A running lab runs on, and a new one waits."""
    running, fresh = new_lab("running"), new_lab("fresh")
    controller.reconcile(running)
    with allocator_faults.down():
        controller.reconcile(running)
        controller.reconcile(fresh)
    assert (running.phase, fresh.phase) == ("Running", "Pending")
    assert "room" not in fresh.reason
    controller.reconcile(fresh)
    assert fresh.phase == "Running"


def test_a_lost_reply_charges_once(controller: LabController, allocator: Allocator, allocator_faults: Faults) -> None:
    """The retry finds the grant of the first attempt."""
    lab = new_lab()
    with allocator_faults.lost_reply("allocate") as fault:
        controller.reconcile(lab)
    assert fault.fired == 1
    assert lab.phase == "Running"
    assert allocator.pools.usage().allocations == 1


@pytest.mark.parametrize("executed", [True, False])
def test_an_unknown_outcome_leaves_nothing(
    controller: LabController, allocator: Allocator, allocator_faults: Faults, *, executed: bool
) -> None:
    """The client undoes what the call may have done; the next pass asks again."""
    lab = new_lab()
    with allocator_faults.unknown("allocate", executed=executed):
        controller.reconcile(lab)
    assert lab.phase == "Pending"
    assert wait_undone(allocator)
    assert allocator.pools.usage().allocations == 0
    controller.reconcile(lab)
    assert lab.phase == "Running"


def test_a_lease_that_lapsed_starts_anew(
    controller: LabController, allocator: Allocator, allocator_clock: Clock
) -> None:
    """Its room went to another, as no pass came in time."""
    lab = new_lab()
    controller.reconcile(lab)
    allocator_clock.advance(TTL_S + 1)
    allocator.maintenance.reclaim()
    controller.reconcile(lab)
    assert lab.phase == "Pending"
    assert "starts anew" in lab.reason
    controller.reconcile(lab)
    assert lab.phase == "Running"


def test_a_pool_that_recovers_keeps_what_runs(controller: LabController, allocator_faults: Faults) -> None:
    """Nothing new begins meanwhile."""
    running, fresh = new_lab("running"), new_lab("fresh")
    controller.reconcile(running)
    with allocator_faults.recovering():
        controller.reconcile(running)
        controller.reconcile(fresh)
    assert running.phase == "Running"
    assert "recovers" in fresh.reason


def test_two_replicas_share_a_real_server(redis_server: PrivateServer) -> None:
    """The second replica finds what the first was granted."""
    with Allocator.from_url(redis_server.url) as one, Allocator.from_url(redis_server.url) as other:
        one.pools.create("default", {"cpu": "4", "memory": "8Gi"})
        first, second = new_lab(), new_lab()
        LabController(one).reconcile(first)
        LabController(other).reconcile(second)
        assert first.held is not None
        assert second.held is not None
        assert first.held.fence == second.held.fence


if __name__ == "__main__":
    # Without the settings of this repository, as in a repository of your own.  Where this package is installed, pytest
    # finds the plugin by itself.
    sys.exit(
        pytest.main(
            [__file__, "-q", "-c", os.devnull, "-p", "allocator_pytest", "-p", "no:cacheprovider", "-p", "no:asyncio"]
        )
    )
