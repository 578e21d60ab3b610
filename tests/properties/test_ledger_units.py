"""Random stories in a pool whose units change: what is given out, and in which amounts, beside everything else."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Final

import fakeredis
import hypothesis
import pytest
import redis
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from allocator import InvalidRequest, Resources, ResourceUnits
from allocator._engine.operations import pools
from allocator._engine.operations.pools import PoolOptions
from allocator._engine.transport.in_process import InProcessServer
from tests.properties.test_ledger import LUCK, Ledger, Luck
from tests.support.servers import SessionServers, engines

STORIES, STEPS = 20, 40

UNITS: Final = st.tuples(
    st.sampled_from([0, 0, 1, 3]),
    st.sampled_from([0, 0, 1, 250, 1500]),
    st.sampled_from([0, 0, 2, 3]),
    st.sampled_from([0, 0, 4, 6]),
    st.sampled_from([0, 0, 2, 3]),
)


class LedgerOfUnits(Ledger):
    """The capacity of the model is what is given out."""

    @rule(cpu=st.integers(3, 14), gpu=st.sampled_from([0, 2000, 4000]), units=UNITS, luck=LUCK)
    def set_units(self, cpu: int, gpu: int, units: tuple[int, int, int, int, int], luck: Luck) -> None:
        reserved, more, *bounds = units
        quantities = [f"{amount}m" for amount in (reserved, *bounds)]
        options = PoolOptions(units={"cpu": ResourceUnits(quantities[0], more, *quantities[1:])})
        flow = pools.update(self.defaults, None, Resources.of({"cpu": cpu, "gpu": gpu}), options=options)
        least, most, step = bounds
        try:
            pool = self.network.run(flow, luck)
        except InvalidRequest:
            assert not any(least <= amount <= most and amount % (step or 1) == 0 for amount in range(1, most + 1))
            return
        self.model.configure({"cpu": (cpu - reserved) * (1000 + more) // 1000, "gpu": gpu})
        self.model.bounds = {"cpu": (least, most, step)}
        assert (dict(pool.limit), pool.capacity["cpu"]) == (self.model.capacity, cpu)

    @rule(cpu=st.integers(0, 14), gpu=st.sampled_from([0, 2000, 4000]), luck=LUCK)
    def configure(self, cpu: int, gpu: int, luck: Luck) -> None:
        """Without what was reserved."""
        options = PoolOptions(units={"cpu": ResourceUnits(0, 0)})
        flow = pools.update(self.defaults, None, Resources.of({"cpu": cpu, "gpu": gpu}), options=options)
        pool = self.network.run(flow, luck)
        self.model.configure({"cpu": cpu, "gpu": gpu})
        assert dict(pool.limit) == self.model.capacity


@pytest.fixture(params=["memory", engines()[0]], ids=str)
def store(request: pytest.FixtureRequest, servers: SessionServers) -> Iterator[tuple[str, Any]]:
    """The store's URL, and a client that sends what the network lets through."""
    client: Any
    if request.param == "memory":
        url = f"memory://units-{uuid.uuid4().hex}"
        server = InProcessServer.named(url.partition("://")[2])._options["server"]
        client = fakeredis.FakeRedis(server=server, decode_responses=True)
    else:
        url = servers.get(request.param).url
        client = redis.Redis.from_url(url, decode_responses=True)
    yield url, client
    client.close()


def test_a_ledger_with_units_is_what_the_model_says(store: tuple[str, Any]) -> None:
    """Repeats, late copies, lost replies, undos and expired leases meet units that change."""
    machine = type("LedgerOfThisStore", (LedgerOfUnits,), {"store": store})
    settings = hypothesis.settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=STORIES // 4 if store[0].startswith("memory") else STORIES,
        stateful_step_count=STEPS,
        report_multiple_bugs=False,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=settings)
