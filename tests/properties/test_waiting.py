"""Random stories of pools in which requests wait: after each step they are what an independent model says."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest
import redis

from tests.properties import waiting_long
from tests.properties.waiting_random import tell
from tests.scripts.ledger import Ledger
from tests.support.servers import Engine, SessionServers, engines
from tests.support.tools import engine_params

GROUPS, STORIES, STEPS = 10, 20, 10


@pytest.fixture(params=engine_params(), ids=str)
def engine(request: pytest.FixtureRequest, servers: SessionServers) -> Iterator[Ledger]:
    """A pool on each engine in turn."""
    yield from _connect(request.param, servers)


@pytest.fixture(params=engines()[:1], ids=str)
def newest(request: pytest.FixtureRequest, servers: SessionServers) -> Iterator[Ledger]:
    """A pool on the newest engine."""
    yield from _connect(request.param, servers)


def _connect(engine: Engine, servers: SessionServers) -> Iterator[Ledger]:
    client = redis.Redis(unix_socket_path=servers.get(engine).socket, decode_responses=True)
    yield Ledger(client)
    client.close()


@pytest.mark.parametrize("group", range(GROUPS))
def test_a_story_of_who_waits_is_the_models(newest: Ledger, group: int) -> None:
    """The same stories in every run; a failure has its seed and its last steps."""
    for seed in range(group * STORIES, (group + 1) * STORIES):
        newest.client.flushall()
        tell(Ledger(newest.client), seed, STEPS)


@pytest.mark.parametrize("group", range(GROUPS // 2))
def test_a_story_with_backfill_is_the_models(newest: Ledger, group: int) -> None:
    """In pools that permit it, of requests with hard ends."""
    for seed in range(group * STORIES, (group + 1) * STORIES):
        newest.client.flushall()
        tell(Ledger(newest.client), seed, STEPS, backfill=True)


@pytest.mark.parametrize("seed", [*range(1000, 1006), 1041, 1285])
def test_a_story_is_the_same_on_every_engine(engine: Ledger, seed: int) -> None:
    """Longer ones."""
    engine.client.flushall()
    tell(Ledger(engine.client), seed)


def test_a_line_that_is_longer_than_what_a_call_looks_at_keeps_its_rules(newest: Ledger) -> None:
    """Where the model would have to know how far each call has looked."""
    with waiting_long.bounded(WAITERS_LOOKED_MAX=waiting_long.LOOKED):
        for seed in (1522, *range(5)):
            newest.client.flushall()
            waiting_long.tell(Ledger(newest.client), seed)


@pytest.mark.parametrize("seed", range(2000, 2003))
def test_a_story_is_the_same_in_process(seed: int) -> None:
    """In the store that runs the same scripts without a server."""
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,)), decode_responses=True)
    tell(Ledger(client, memory=True), seed, STEPS)
    client.close()
