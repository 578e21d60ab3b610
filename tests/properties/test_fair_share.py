"""Fair share against the rule, recomputed for each grant: random stories, long runs, bursts, idle scopes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Final

import fakeredis
import pytest
import redis

from tests.properties.fair_model import FairShare, Sharer
from tests.properties.fair_random import CAPACITY, HALF_LIFE_MS, SHARE, Story, begin, tell
from tests.scripts.ledger import Ledger
from tests.support.servers import Engine, SessionServers, engines
from tests.support.tools import engine_params

CONVERGED_WITHIN: Final = 0.02
"""How far the part that a scope has used may be from its weight's, as a part of the whole."""

IDEAL_WITHIN: Final = 0.01
"""How far it may be from what it has where the order is recomputed for each grant."""


def _connect(engine: Engine, servers: SessionServers) -> Iterator[Ledger]:
    client = redis.Redis(unix_socket_path=servers.get(engine).socket, decode_responses=True)
    client.flushall()
    yield Ledger(client)
    client.close()


@pytest.fixture(params=engine_params(), ids=str)
def engine(request: pytest.FixtureRequest, servers: SessionServers) -> Iterator[Ledger]:
    """A pool on each engine in turn."""
    yield from _connect(request.param, servers)


@pytest.fixture(params=engines()[:1], ids=str)
def newest(request: pytest.FixtureRequest, servers: SessionServers) -> Iterator[Ledger]:
    """A pool on the newest engine."""
    yield from _connect(request.param, servers)


def test_each_grant_goes_to_the_smallest_share(newest: Ledger) -> None:
    """The same stories in every run; a failure has its seed."""
    for seed in range(12):
        newest.client.flushall()
        tell(Ledger(newest.client), seed)


def test_a_story_is_the_same_on_every_engine(engine: Ledger) -> None:
    """One story of each."""
    tell(engine, 1500)


def test_a_story_is_the_same_in_process() -> None:
    """In the store that runs the same scripts without a server."""
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,)), decode_responses=True)
    tell(Ledger(client, memory=True), 1501, 20)
    client.close()


def durations(seed: int) -> dict[str, Iterator[int]]:
    """How long the allocations of each scope last, in turn; those of `c` last longer."""

    def draw(scope: str, mean_ms: int) -> Iterator[int]:
        rng = random.Random(f"{seed} {scope}")
        while True:
            yield rng.randint(mean_ms // 2, mean_ms * 3 // 2)

    return {"a": draw("a", 4_000), "b": draw("b", 4_000), "c": draw("c", 12_000)}


def ideal(seed: int, span_ms: int) -> Counter[str]:
    """What saturated scopes use of the pool where the smallest share goes first, recomputed for each grant."""
    lasts, used, now = durations(seed), Counter[str](), 0
    model = FairShare(HALF_LIFE_MS, {"a": Sharer(1), "b": Sharer(2), "c": Sharer(4)})
    ends: list[tuple[int, str, str]] = []
    while now < span_ms:
        while len(ends) < CAPACITY:
            scope = min(model.sharers, key=lambda one: (model.load(one), one))
            name, ms = f"{scope}-{now}-{len(ends)}-{sum(used.values())}", next(lasts[scope])
            model.grant(name, scope, SHARE)
            used[scope] += ms
            ends.append((now + ms, name, scope))
        ends.sort()
        at, name, _ = ends.pop(0)
        model.pass_time(at - now)
        now = at
        model.end(name)
    return used


def saturated(story: Story, seed: int, span_ms: int) -> Counter[str]:
    """The same in the line, where each scope has two requests that wait."""
    lasts, used, begun = durations(seed), Counter[str](), story.ledger.now
    ends: dict[str, int] = {}
    while story.ledger.now < begun + span_ms:
        waiting = Counter(one.sharer for one in story.waiting.values())
        wanted = [scope for scope in "abc" for _ in range(2 - waiting[scope])]
        if wanted:
            story.ask(wanted, 0)
        for name, (scope, _) in story.model.allocations.items():
            if name not in ends:
                ms = next(lasts[scope])
                ends[name] = story.ledger.now + ms
                used[scope] += ms
        at, name = min((at, name) for name, at in ends.items())
        while story.ledger.now < at:
            story.rest(min(at - story.ledger.now, 5_000))
        del ends[name]
        story.release([name])
    return used


def test_over_a_long_run_saturated_scopes_use_what_their_weights_say(newest: Ledger) -> None:
    """1:2:4, with allocations of unequal length, near to the weights and nearer to the order that is recomputed."""
    span_ms, seed = 3 * HALF_LIFE_MS, 7
    story = begin(newest, seed)
    used, best = saturated(story, seed, span_ms), ideal(seed, span_ms)
    for scope, weight in (("a", 1), ("b", 2), ("c", 4)):
        part = used[scope] / sum(used.values())
        assert abs(part - weight / 7) < CONVERGED_WITHIN, f"{scope} has used {part:.4f} and not {weight / 7:.4f}"
        of_best = best[scope] / sum(best.values())
        assert abs(part - of_best) < IDEAL_WITHIN, f"{scope} has used {part:.4f}, ideally {of_best:.4f}"
    story.end()


def test_a_burst_does_not_delay_the_single_request_of_another_scope(newest: Ledger) -> None:
    """A thousand wait of `a`; the one of `b` goes first where it has had nothing, and else at its turn."""
    story = begin(newest)
    story.ask(["a"] * CAPACITY, 0)
    for _ in range(10):
        story.ask(["a"] * 100, 0)
    story.ask(["b"], 0)
    story.release([min(story.model.allocations)])
    assert [scope for scope, _ in story.model.allocations.values()].count("b") == 1
    # Its turn: `b` has 1/10 of the weight 2; `a` goes first only while it has less than half of that.
    story.release([name for name, (scope, _) in story.model.allocations.items() if scope == "a"])
    story.ask(["b"], 0)
    assert [one.sharer for one in story.waiting.values()][-1] == "b"
    story.release([next(name for name, (scope, _) in story.model.allocations.items() if scope == "a")])
    assert [scope for scope, _ in story.model.allocations.values()].count("b") == 2


def in_a_row(ledger: Ledger, half_lives: int) -> int:
    """How many of `b` are granted in half a half-life after it was idle so long, while `a` had the pool."""
    story = begin(ledger)
    story.ask(["a"] * CAPACITY, 0)
    for _ in range(half_lives):
        story.rest(HALF_LIFE_MS)
    story.ask(["a", "b"] * 40, 0)
    for _ in range(6):
        story.rest(HALF_LIFE_MS // 12)
        live = list(story.model.allocations)
        story.release(live[:2])
    return sum(scope == "b" for scope, _ in story.model.allocations.values())


def test_a_scope_that_was_idle_banks_nothing_beyond_the_half_life(newest: Ledger) -> None:
    """After ten of them it gets what it gets after thirty."""
    found = set()
    for half_lives in (10, 30):
        newest.client.flushall()
        found.add(in_a_row(Ledger(newest.client), half_lives))
    assert len(found) == 1
