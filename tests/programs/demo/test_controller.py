"""The reconcile loop of a replica, without processes: an in-process ledger, and a clock to turn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from allocator import Allocator, BackendUnavailable, Resources
from allocator.apps.demo.cluster import Change, Cluster, Phase, Transition
from allocator.apps.demo.controller import Controller, Counters, News, Plan
from allocator.apps.demo.lab_requests import LabRequest
from allocator.testing import Clock, memory_allocator

TTL_S = 2.0
STEP_S = 0.1

_stores = itertools.count()


class Direct:
    """The statuses without a pipe between."""

    def __init__(self, world: World, replica: str) -> None:
        self._world = world
        self._replica = replica
        self._version = 0

    def sync(self, transitions: Sequence[Transition], counters: Counters) -> News:
        cluster = self._world.cluster
        accepted = cluster.write(self._replica, transitions)
        self._version, changes = cluster.since(self._version)
        return News(self._world.elapsed_s, self._world.over, accepted, list[Change](changes))


class World:
    """Labs, a ledger, a clock, and as many replicas as a test makes."""

    def __init__(self, capacity: dict[str, str], labs: list[LabRequest], *, failing: float = 0.0) -> None:
        self.clock = Clock()
        self.begun_ms = self.clock()
        self.cluster = Cluster(len(labs))
        self.plan = Plan(labs, TTL_S, 1.0, 1, failing)
        self.store = f"demo-{next(_stores)}"
        self.ledger = self.client(capacity)

    def client(self, capacity: dict[str, str]) -> Allocator:
        self.capacity = capacity
        return memory_allocator(capacity, pool="demo", store=self.store, clock=self.clock)

    def replica(self, share: int, shares: int) -> Controller:
        name = f"replica-{share + 1}"
        return Controller(
            self.plan,
            self.client(self.capacity),
            Direct(self, name),
            replica=name,
            share=share,
            shares=shares,
            clock=lambda: self.clock() / 1000,
        )

    @property
    def elapsed_s(self) -> float:
        return (self.clock() - self.begun_ms) / 1000

    @property
    def over(self) -> bool:
        return all(status.phase.final for status in self.cluster.snapshot())

    def phases(self) -> list[Phase]:
        return [status.phase for status in self.cluster.snapshot()]

    def go(self, seconds: float, *replicas: Controller) -> None:
        """Let the replicas do their rounds for so long."""
        for _ in range(round(seconds / STEP_S)):
            for replica in replicas:
                replica.reconcile()
            self.clock.advance(STEP_S)

    def check(self) -> None:
        """Nothing is left, and the books are right."""
        assert self.ledger.maintenance.audit()
        assert self.ledger.pools.usage().allocations == 0
        assert not any(self.ledger.pools.usage().pool.allocated.values())


def lab(name: str, seconds: float = 1.0, **resources: str) -> LabRequest:
    return LabRequest(name, Resources.request(resources), seconds)


def test_a_lab_lives_through_all_phases_and_gives_back_what_it_had() -> None:
    """Pending, Provisioning, Running, Completed: with an allocation in the two in the middle only."""
    world = World({"cpu": "2"}, [lab("a", 3.0, cpu="2")])
    replica = world.replica(0, 1)
    seen: list[tuple[Phase, int]] = []
    while not world.over:
        world.go(STEP_S, replica)
        state = (world.phases()[0], world.ledger.pools.usage().allocations)
        if state not in seen:
            seen.append(state)
    assert seen == [(Phase.PROVISIONING, 1), (Phase.RUNNING, 1), (Phase.COMPLETED, 0)]
    assert replica.counters.renewed > 0
    assert not replica.reconcile()
    world.check()


def test_labs_wait_their_turn_where_there_is_no_room() -> None:
    """A refusal is no failure: the lab is asked for again."""
    world = World({"cpu": "2"}, [lab(f"lab{i}", cpu="1") for i in range(6)])
    replicas = [world.replica(share, 2) for share in range(2)]
    world.go(12, *replicas)
    assert world.phases() == [Phase.COMPLETED] * 6
    assert sum(replica.counters.granted for replica in replicas) == 6
    assert sum(replica.counters.refused for replica in replicas) > 0
    world.check()


def test_a_lab_that_can_never_fit_fails_with_the_numbers() -> None:
    """It must not be asked for again and again, and not be lost either."""
    world = World({"cpu": "2"}, [lab("huge", cpu="3"), lab("gpu", gpu="1"), lab("a", cpu="1")])
    world.go(4, world.replica(0, 1))
    assert world.phases() == [Phase.FAILED, Phase.FAILED, Phase.COMPLETED]
    statuses = world.cluster.snapshot()
    assert "never fits" in statuses[0].reason
    assert "requested=3" in statuses[0].reason
    assert "unknown resource" in statuses[1].reason
    world.check()


def test_a_lab_whose_provisioning_fails_gives_back_what_it_had() -> None:
    """The share of such labs is seeded; here it is all of them."""
    world = World({"cpu": "2"}, [lab(f"lab{i}", cpu="1") for i in range(3)], failing=1.0)
    world.go(5, world.replica(0, 1))
    assert world.phases() == [Phase.FAILED] * 3
    world.check()


def test_the_labs_of_a_dead_replica_are_taken_over_when_its_leases_lapse() -> None:
    """Not before: until then nobody can tell that it is dead."""
    world = World({"cpu": "4"}, [lab(f"lab{i}", 8.0, cpu="1") for i in range(4)])
    first, second = world.replica(0, 2), world.replica(1, 2)
    world.go(1, first, second)
    died = world.cluster.in_hand("replica-1")
    assert len(died) == 2
    world.go(TTL_S - 2 * STEP_S - TTL_S / 3, second)
    assert world.cluster.in_hand("replica-1") == died
    world.go(3 * TTL_S, second)
    assert world.cluster.in_hand("replica-1") == []
    world.go(20, second)
    assert world.phases() == [Phase.COMPLETED] * 4
    assert [world.cluster.snapshot()[index].runs for index in died] == [2, 2]
    world.check()


def test_a_replica_that_was_stalled_writes_nothing_over_its_successor() -> None:
    """It wakes up, finds its lease lost, and drops the lab; what it writes under the old fence is refused."""
    world = World({"cpu": "1"}, [lab("a", 9.0, cpu="1")])
    first, second = world.replica(0, 2), world.replica(1, 2)
    world.go(0.5, first, second)
    assert world.cluster.in_hand("replica-1") == [0]
    world.go(3 * TTL_S, second)  # the first one does not come to do anything
    assert world.cluster.in_hand("replica-2") == [0]
    world.go(1, first, second)
    assert first.counters.lost == 1
    assert world.cluster.in_hand("replica-2") == [0]
    world.go(10, first, second)
    assert world.phases() == [Phase.COMPLETED]
    assert world.cluster.snapshot()[0].replica == "replica-2"
    world.check()


def test_a_replica_that_is_told_to_end_gives_everything_back() -> None:
    """Its labs are then there for the others at once, without waiting for a lease to lapse."""
    world = World({"cpu": "2"}, [lab("a", 60.0, cpu="2")])
    replica = world.replica(0, 1)
    world.go(0.5, replica)
    assert world.ledger.pools.usage().allocations == 1
    replica.give_up()
    world.check()


def test_a_replica_whose_renewals_fail_sees_that_the_run_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hears of the end, and of its parent's, in the exchange of statuses: also where the server is gone."""
    world = World({"cpu": "4"}, [lab("a", seconds=60, cpu="1")])
    one = world.replica(0, 1)
    world.go(0.5, one)
    assert one._in_hand

    def unavailable(_held: object) -> None:
        raise BackendUnavailable("gone")

    monkeypatch.setattr(one._allocator, "renew_many", unavailable)
    world.clock.advance(TTL_S / 2)
    assert one.reconcile()
    monkeypatch.setattr(World, "over", True)
    assert not one.reconcile()
    assert one.counters.errors == 2


def test_which_labs_fail_is_a_matter_of_the_seed() -> None:
    """All replicas must agree on it, or a lab that was taken over would end otherwise."""
    labs = [lab(f"lab{i}", cpu="1") for i in range(200)]
    plans = [Plan(labs, TTL_S, 1.0, seed, 0.2) for seed in (1, 1, 2)]
    one, again, other = ([plan.fails(request) for request in labs] for plan in plans)
    assert one == again
    assert one != other
    assert sum(one) == pytest.approx(40, abs=20)
