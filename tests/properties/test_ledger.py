"""Random stories on every engine: after each step the ledger is what the model says, and its audit is clean.

The stories are the same in every run; a failure prints the shortest one that shows it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import fakeredis
import hypothesis
import pytest
import redis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from allocator import (
    Allocation,
    AllocationConflict,
    AllocationLost,
    Denial,
    Insufficient,
    InvalidRequest,
    Renewal,
    Request,
    Resources,
    UnknownAllocation,
)
from allocator._engine.execution.driver import Driver
from allocator._engine.operations import allocate, check, lookup, pools, reclaim, release, renew, resize, undo
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.maintenance import audit
from allocator._engine.operations.pool_deletion import delete
from allocator._engine.operations.pool_usage import usage as read_usage
from allocator._engine.protocol.flows import Call
from allocator._engine.transport.in_process import InProcessServer
from allocator._engine.transport.urls import resolve_target
from allocator.testing import Clock
from tests.properties.network import Luck, Network
from tests.properties.state_model import Held, Model, Told, Wanted
from tests.support.beliefs import EVER, Beliefs
from tests.support.servers import Engine, SessionServers
from tests.support.tools import engine_params

STORIES, STORIES_IN_PROCESS, STEPS = 40, 12, 40

IDS = st.sampled_from([f"id-{number}" for number in range(6)])
OWNERS = st.sampled_from(["me", "me", "me", "them"])
TTLS_MS = st.sampled_from([0, 5_000, 5_000, 30_000])
LUCK = st.sampled_from([*Luck, Luck.NONE_LOST, Luck.HELD_UP])
AMOUNTS = st.one_of(
    st.fixed_dictionaries({"cpu": st.integers(1, 6)}),
    st.fixed_dictionaries({"cpu": st.integers(1, 11), "gpu": st.sampled_from([1000, 1000, 2000, 500])}),
    st.just({"cpu": 1, "disk": 1}),
)
CHANGES = st.dictionaries(st.sampled_from(["cpu", "gpu"]), st.sampled_from([0, 1000, 2, 5, 9, 2000]), min_size=1)
WANTED = st.builds(Wanted, IDS, OWNERS, AMOUNTS, TTLS_MS)


class Ledger(RuleBasedStateMachine):
    """One pool, a clock that is turned, a network that loses and delays."""

    store: ClassVar[tuple[str, Any]]
    """Its URL, and a client that sends what the network lets through."""

    def __init__(self) -> None:
        super().__init__()
        url, client = self.store
        self.clock = Clock()
        self.defaults = Defaults(f"p{uuid.uuid4().hex[:12]}", "allocator", None)
        self.network = Network(client, self.clock, in_process=url.startswith("memory"))
        self.driver = self.open_driver(url)
        self.model = Model({"cpu": 10, "gpu": 4000}, frozenset({"gpu"}), self.clock())
        self.fences: list[int] = []
        self.asked: dict[str, Wanted] = {}
        self.undos: list[tuple[Call, str]] = []
        self.beliefs = Beliefs(lambda: self.model.capacity, self.clock)

    def open_driver(self, url: str) -> Any:
        """What reads for the invariants."""
        return Driver(resolve_target(url), clock=self.clock)

    @initialize(luck=LUCK)
    def create(self, luck: Luck) -> None:
        capacity = Resources.of(self.model.capacity)
        pool = self.network.run(pools.create(self.defaults, self.defaults.pool.name, capacity, ["gpu"]), luck)
        assert pool.created

    def teardown(self) -> None:
        self.driver.run(delete(self.defaults, self.defaults.pool.name, force=True))
        self.driver.close()

    # -- granting ------------------------------------------------------------------------------------------------------

    def request(self, wanted: Wanted) -> Request:
        ttl = wanted.ttl_ms / 1000 if wanted.ttl_ms else None
        return Request(
            Resources.of(wanted.amounts), ttl, wanted.id, wanted.owner, {"m": "1"} if wanted.ttl_ms else None
        )

    def check_told(self, told: Told, outcome: object, wanted: Wanted, call: str) -> None:
        """The caller was told what the model says, in numbers; what it believes from now on is there."""
        if told == "conflict":
            assert isinstance(outcome, AllocationConflict), outcome
        elif isinstance(told, tuple):
            assert isinstance(outcome, Denial), (told, outcome)
            assert (outcome.code, tuple(sorted(one.resource for one in outcome.shortages))) == told[1:]
            for one in outcome.shortages:
                assert one.capacity == self.model.capacity.get(one.resource, 0)
        else:
            assert isinstance(outcome, Allocation), (told, outcome)
            held = self.model.live[wanted.id]
            assert outcome.created == (told == "granted"), (told, outcome)
            if told == "granted":
                assert outcome.fence > max(self.fences, default=0)
                self.fences.append(outcome.fence)
                held.fence = outcome.fence
            assert (outcome.fence, outcome.deadline_ms) == (held.fence, held.deadline_ms)
            self.beliefs.told(call, outcome)

    @rule(wanted=WANTED, luck=LUCK)
    def allocate(self, wanted: Wanted, luck: Luck) -> None:
        (call,), flow = self.network.begin(allocate.allocate(self.defaults, self.request(wanted)))
        told = self.model.allocate(wanted, call)
        self.check_told(told, outcome_of(lambda: self.network.run(flow, luck)), wanted, call)
        self.asks(luck, {call: wanted}, [told])

    def asks(self, luck: Luck, asked: dict[str, Wanted], told: list[Told]) -> None:
        """Note what may arrive once more; what was repeated and refused has been undone."""
        self.asked |= asked
        refused = (call for call, one in zip(asked, told, strict=True) if one not in ("granted", "existing", "lost"))
        if luck.attempts[-1]:
            self.model.ended |= set(refused)

    @rule(many=st.lists(WANTED, min_size=1, max_size=4), luck=LUCK)
    def allocate_many(self, many: list[Wanted], luck: Luck) -> None:
        if luck is not Luck.NONE_LOST:  # an item that was refused is decided anew when it comes again
            many = list({wanted.id: wanted for wanted in many}.values())
        requests = [self.request(one) for one in many]
        calls, flow = self.network.begin(allocate.allocate_many(self.defaults, requests))
        told = [self.model.allocate(wanted, call) for wanted, call in zip(many, calls, strict=True)]
        outcomes = self.network.run(flow, luck)
        for one, wanted, outcome, call in zip(told, many, outcomes, calls, strict=True):
            assert isinstance(outcome, Denial) == isinstance(one, tuple), (told, outcomes)
            assert isinstance(outcome, AllocationConflict) == (one == "conflict"), (told, outcomes)
            if one == "granted":
                assert isinstance(outcome, Allocation), (told, outcomes)
                self.fences.append(outcome.fence)
                self.model.live[wanted.id].fence = outcome.fence
            if isinstance(outcome, Allocation):
                self.beliefs.told(call, outcome)
        self.asks(luck, dict(zip(calls, many, strict=True)), told)

    @rule(many=st.lists(WANTED, min_size=1, max_size=3, unique_by=lambda wanted: wanted.id), luck=LUCK)
    def allocate_gang(self, many: list[Wanted], luck: Luck) -> None:
        requests = [self.request(one) for one in many]
        calls, flow = self.network.begin(allocate.allocate_many(self.defaults, requests, atomic=True))
        told = self.model.gang(many, calls)
        if isinstance(told, list):
            outcomes = self.network.run(flow, luck)
            for one, outcome, wanted, call in zip(told, outcomes, many, calls, strict=True):
                self.check_told(one, outcome, wanted, call)
            self.asks(luck, dict(zip(calls, many, strict=True)), told)
            return
        at, why = told
        self.asked |= dict(zip(calls, many, strict=True))
        if luck.attempts[-1]:
            self.model.ended |= set(calls)
        refused = outcome_of(lambda: self.network.run(flow, luck))
        if isinstance(refused, Denial):
            assert refused.item == at
        self.check_told(why, refused, many[at], calls[at])

    @rule(wanted=WANTED, executed=st.booleans(), late=st.booleans())
    def allocate_and_never_hear_of_it(self, wanted: Wanted, executed: bool, late: bool) -> None:
        """The caller gives up; it is undone some time later, and others may have been told of it meanwhile."""
        flow = allocate.allocate(self.defaults, self.request(wanted))
        call = self.network.run_copies(flow, (False,) if executed else (), (True,) if late else ())
        self.asked[call.items[0].call] = wanted
        if executed and self.model.allocate(wanted, call.items[0].call) == "granted":
            self.note_fence(wanted.id)
        self.undos.append((call, wanted.id))

    def note_fence(self, name: str) -> None:
        """A grant that nobody was told of: its fence is read."""
        held = self.model.live[name]
        found = self.driver.run(lookup.get(self.defaults, name))
        assert found is not None
        assert found.fence > max(self.fences, default=0)
        held.fence = found.fence
        self.fences.append(found.fence)

    @precondition(lambda self: bool(self.undos))
    @rule(data=st.data(), twice=st.booleans())
    def what_nobody_heard_of_is_undone(self, data: st.DataObject, twice: bool) -> None:
        """It ends what no other was told of, and nothing else."""
        call, name = self.undos.pop(data.draw(st.integers(0, len(self.undos) - 1)))
        self.model.undo(call.items[0].call)
        for _ in range(1 + twice):
            self.network.run(undo.undo(call.pool, [(call.items[0].call, name)]))

    # -- holding -------------------------------------------------------------------------------------------------------

    def fence_of(self, name: str, which: str) -> int | None:
        held = self.model.live.get(name, Held("", {}, 0, None, None, fence=7))
        return {"any": None, "right": held.fence, "stale": held.fence - 1}[which]

    @rule(name=IDS, which=st.sampled_from(["any", "right", "stale"]), ttl_ms=TTLS_MS, shorten=st.booleans(), luck=LUCK)
    def renew(self, name: str, which: str, ttl_ms: int, shorten: bool, luck: Luck) -> None:
        fence = self.fence_of(name, which)
        told = self.model.renew(name, fence or 0, ttl_ms, shorten=shorten)
        if not shorten and luck.late:
            luck = Luck.REPLY_LOST  # a late copy of a plain renewal may extend once more, and that is all it may do
        flow = renew.renew(self.defaults, name, ttl_ms / 1000 or None, fence, shorten=shorten)
        renewed = outcome_of(lambda: self.network.run(flow, luck))
        if isinstance(renewed, Renewal):
            assert (told, renewed.deadline_ms) == ("renewed", self.model.renewal(name))
            self.beliefs.renewed(renewed.fence or 0, renewed.deadline_ms, shortened=shorten)
        else:
            assert told == renewed

    @rule(name=IDS, which=st.sampled_from(["any", "right", "stale"]), amounts=CHANGES, luck=LUCK)
    def resize(self, name: str, which: str, amounts: dict[str, int], luck: Luck) -> None:
        fence = self.fence_of(name, which)
        told = self.model.resize(name, fence or 0, amounts)
        flow = resize.resize(self.defaults, name, Resources.of(amounts), fence)
        resized = outcome_of(lambda: self.network.run(flow, luck))
        if isinstance(resized, Allocation):
            assert (told, dict(resized.resources)) == ("resized", self.model.live[name].amounts)
            self.beliefs.resized(resized)
        elif isinstance(resized, Denial):
            assert told == ("denied", resized.code, tuple(sorted(one.resource for one in resized.shortages)))
        else:
            assert told == resized

    @rule(name=IDS, which=st.sampled_from(["any", "right", "stale"]), luck=LUCK)
    def release(self, name: str, which: str, luck: Luck) -> None:
        fence = self.fence_of(name, which)
        told = self.model.release(name, fence or 0)
        assert self.network.run(release.release(self.defaults, name, fence), luck).outcome == told
        if told == "released":
            self.beliefs.released(name)

    @rule(names=st.lists(IDS, min_size=1, max_size=5), luck=LUCK)
    def release_many(self, names: list[str], luck: Luck) -> None:
        told = [self.model.release(name, 0) for name in names]
        assert [one.outcome for one in self.network.run(release.release_many(self.defaults, names), luck)] == told
        for name, word in zip(names, told, strict=True):
            if word == "released":
                self.beliefs.released(name)

    # -- upkeep --------------------------------------------------------------------------------------------------------

    @rule(age_ms=st.sampled_from([0, 0, 10_000, 40_000]), include_live=st.booleans())
    def reclaim(self, age_ms: int, include_live: bool) -> None:
        include_live = include_live and age_ms > 0
        taken = self.model.reclaim(age_ms, include_live=include_live)
        flow = reclaim.reclaim(self.defaults, age_ms / 1000 or None, None, include_live=include_live)
        assert set(self.network.run(flow).ids) == taken
        for name in taken if age_ms else ():
            self.beliefs.released(name)  # by age, whoever believes in it

    @rule(cpu=st.integers(0, 14), gpu=st.sampled_from([0, 2000, 4000]), luck=LUCK)
    def configure(self, cpu: int, gpu: int, luck: Luck) -> None:
        self.model.configure({"cpu": cpu, "gpu": gpu})
        flow = pools.update(self.defaults, None, Resources.of({"cpu": cpu, "gpu": gpu}))
        pool = self.network.run(flow, luck)
        assert dict(pool.capacity) == self.model.capacity

    @rule(amounts=AMOUNTS)
    def check(self, amounts: dict[str, int]) -> None:
        """It says what an allocation of a new id would be told now."""
        ahead = replace(self.model, live=dict(self.model.live))
        why = ahead.fits_or_why(amounts, {})
        denial = self.network.run(check.check(self.defaults, Resources.of(amounts), explain=True)).denial
        assert (None if denial is None else denial.code) == (why[1] if why else None)

    @rule(milliseconds=st.sampled_from([1, 4_999, 5_000, 20_000, 30_000]))
    def time_passes(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1000)
        self.model.now_ms += milliseconds

    @precondition(lambda self: bool(self.network.copies()))
    @rule(data=st.data())
    def a_late_copy_arrives(self, data: st.DataObject) -> None:
        """Long after its caller was answered: it changes nothing (the invariants compare).

        But for a request that nobody has heard of nor undone, which is decided now; and for one whose lease has lapsed
        and was not taken back, which lives on.
        """
        copies = self.network.copies()
        copy = copies.pop(data.draw(st.integers(0, len(copies) - 1)))
        if copy.call.script.name == "allocate":
            self.meets_the_copy(copy.call)
        self.network.send(copy.call, repeated=copy.repeated)
        for name in [name for name, held in self.model.live.items() if not held.fence]:
            self.note_fence(name)

    def meets_the_copy(self, call: Call) -> None:
        """What an allocate does that arrives once more: it grants nothing, unless nobody has heard of it yet."""
        calls = [item.call for item in call.items]
        many = [self.asked[one] for one in calls]
        if call.batch:
            told = [self.model.allocate(wanted, one) for wanted, one in zip(many, calls, strict=True)]
        else:
            self.model.gang(many, calls)
            told = []
        unheard = {undo.items[0].call for undo, _ in self.undos}
        for name, held in self.model.live.items():
            assert held.fence or held.callers[0].call in unheard, f"{name} is granted again: {told}"

    # -- always --------------------------------------------------------------------------------------------------------

    @invariant()
    def is_what_the_model_says(self) -> None:
        if not hasattr(self, "driver"):
            return
        usage = self.driver.run(read_usage(self.defaults))
        assert dict(usage.pool.allocated) == self.model.allocated()
        assert (usage.allocations, usage.due) == (len(self.model.live), len(self.model.due()))
        assert usage.pinned == sum(held.deadline_ms is None for held in self.model.live.values())
        listing = lookup.scan(self.defaults)
        listed = [one for call in listing for one in listing.new_in(self.driver.run(call))]
        assert {one.id: facts(one) for one in listed} == self.model.facts()
        for name, (fence, until) in self.beliefs.alive().items():
            held = self.model.live.get(name)
            kept = held is not None and held.fence == fence and until <= (held.deadline_ms or EVER)
            assert kept, f"{name} is believed in until {until}: {held}"
        report = self.driver.run(audit.audit(self.defaults))
        assert report, report
        assert report.overcommitted == self.model.overcommitted()


def outcome_of(call: Callable[[], object]) -> object:
    """What a call returns or raises: a refusal, or the model's word for an error."""
    try:
        return call()
    except Insufficient as refused:
        return refused.denial
    except AllocationConflict as conflict:
        return conflict
    except UnknownAllocation:
        return "unknown"
    except AllocationLost:
        return "fenced"
    except InvalidRequest:
        return "empty"


def facts(one: Allocation) -> dict[str, Any]:
    return {
        "owner": one.owner,
        "amounts": dict(one.resources),
        "granted_ms": one.granted_ms,
        "deadline_ms": one.deadline_ms,
        "fence": one.fence,
    }


@pytest.fixture(params=["memory", *engine_params()])
def store(request: pytest.FixtureRequest, servers: SessionServers) -> Iterator[tuple[str, Any]]:
    """The store's URL, and a client that sends what the network lets through."""
    if request.param == "memory":
        url = f"memory://stateful-{uuid.uuid4().hex}"
        server = InProcessServer.named(url.partition("://")[2])._options["server"]
        client: Any = fakeredis.FakeRedis(server=server, decode_responses=True)
    else:
        url = servers.get(Engine(request.param)).url
        client = redis.Redis.from_url(url, decode_responses=True)
    yield url, client
    client.close()


def test_the_ledger_is_what_the_model_says(store: tuple[str, Any]) -> None:
    """In any order of verbs and faults; the in-process store gets fewer stories, as it is slower."""
    machine = type("LedgerOfThisStore", (Ledger,), {"store": store})
    settings = hypothesis.settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=STORIES_IN_PROCESS if store[0].startswith("memory") else STORIES,
        stateful_step_count=STEPS,
        report_multiple_bugs=False,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=settings)
