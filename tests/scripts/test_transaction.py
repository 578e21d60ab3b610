"""In what order a script writes: nothing is read once it has begun, what vanishes goes last; and how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.scripts.ledger import MINUTE, Ledger
from tests.scripts.ordinary import WAYS, prepare

COMES = {"HINCRBY", "HSET", "XADD", "ZADD", "PERSIST", "PEXPIRE"}
GOES = {"HDEL", "UNLINK", "ZREM"}


def commands(ledger: Ledger, act: Callable[[], Any]) -> list[str]:
    """What the scripts send to the server meanwhile, by name."""
    with ledger.client.monitor() as monitor:
        act()
        ledger.client.echo("over")
        found: list[str] = []
        for line in monitor.listen():
            name = line["command"].split(" ")[0].upper()
            if name == "ECHO":
                return found
            if line["client_type"] == "lua":
                found.append(name)
    raise AssertionError("the monitor was closed")


def assert_in_order(found: list[str]) -> None:
    """All readings, then what comes, then what goes."""
    ranks = [1 if name in COMES else 2 if name in GOES else 0 for name in found]
    assert ranks == sorted(ranks), found


@pytest.mark.parametrize("name", [name for name in WAYS if name not in ("read_pool", "read_events")])
def test_a_script_reads_then_writes_and_what_vanishes_goes_last(real: Ledger, name: str) -> None:
    """Redis keeps what a script wrote before it failed, and a slot may be moving to another node."""
    prepare(real)
    way = WAYS[name]
    way.before(real)
    assert_in_order(commands(real, lambda: way.act(real)))


def test_a_call_in_which_much_meets_writes_in_that_order_too(real: Ledger) -> None:
    """What lapsed is reclaimed, granted anew with other fields, shared and pinned; old calls are forgotten."""
    real.create({"cpu": 10, "memory": 100}, promises=f"recovery_grace_ms={MINUTE}")
    for name in ("due", "again", "lease"):
        real.grant(name, {"cpu": 3}, ttl=1000 if name != "lease" else 2 * MINUTE, meta={"k": "v"})
    real.client.zadd(real.key("ended"), {f"old{n}": real.now - 10 * MINUTE for n in range(9)})
    real.client.hset(real.key("pool"), "revision", 32 * (real.revision // 32 + 1) - 1)
    real.now += MINUTE
    lines = [
        real.want("again", {"memory": 2}, ttl=0), real.want("lease", {"cpu": 3}, ttl=0),
        real.want("new", {"cpu": 7}), real.want("new", {"cpu": 7}, ttl=0),
    ]  # fmt: skip
    found = commands(real, lambda: real.allocate(*lines))
    assert set(found) >= GOES
    assert_in_order(found)
    assert not [call for call in real.index("ended") if call.startswith("old")]


def test_a_gang_takes_hardly_longer_than_its_items_by_themselves(newest: Ledger) -> None:
    """A hundred items with 32 resources each: no item looks at all before it."""
    names = [f"resource-{n:02}" for n in range(32)]
    newest.create(dict.fromkeys(names, 10**6))
    took: dict[int, list[int]] = {0: [], 1: []}
    for turn in range(4):
        for atomic in (0, 1):
            lines = [newest.want(f"{turn}-{atomic}-{n}", dict.fromkeys(names, 1)) for n in range(100)]
            newest.client.config_resetstat()
            newest.allocate(*lines, atomic=atomic)
            took[atomic].append(newest.client.info("commandstats")["cmdstat_eval"]["usec"])
    newest.client.flushall()  # more than one audit looks at
    assert min(took[1]) < 2.5 * min(took[0]), took
