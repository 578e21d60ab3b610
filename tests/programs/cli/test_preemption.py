"""Preemption at the command line: what a person sees of priorities, victims and the policy of a pool."""

from __future__ import annotations

import pytest

from allocator import Allocator
from allocator.testing import Clock
from tests.programs.cli.conftest import CommandLine


@pytest.fixture
def full(pool: CommandLine) -> CommandLine:
    """A pool that permits preemption; all 32 cores are allocated."""
    pool("pool", "set", "--preemption", "on", "--preempt-grace", "0s")
    for name, cores, priority in (("low", 20, -5), ("mid", 8, 0), ("high", 4, 9)):
        pool("allocate", f"cpu={cores}", "--ttl", "1h", "--id", name, "--priority", str(priority))
    return pool


def test_a_dry_run_names_the_victims(full: CommandLine) -> None:
    """As the request would take them; 'nobody' if it takes none."""
    said = full("check", "cpu=24", "--preempt", "--priority", "1", code=3).stdout
    assert said.endswith("\nwould preempt low, mid\n")
    assert full("check", "cpu=1", "--preempt", "--priority", "-5", code=3).stdout.endswith("\nwould preempt nobody\n")
    assert full("check", "cpu=1", code=3).stdout.count("\n") == 1
    assert full.json("check", "cpu=24", "--preempt", "--priority", "1", code=3)["victims"] == ["low", "mid"]
    assert full.out("check", "memory=1Gi", "--preempt") == "yes\n"


def test_a_request_that_waits_takes_the_room(full: CommandLine) -> None:
    """Without a grace it is granted at once."""
    result = full("allocate", "cpu=1", "--ttl", "1h", "--id", "new", "--priority", "1", "--preempt", "--wait", "5s")
    assert "new granted" in result.stdout
    listed = [one["id"] for one in full.json("list")["items"]]
    assert listed == ["mid", "high", "new"] or set(listed) == {"mid", "high", "new"}


def test_list_and_describe_show_priorities_and_who_is_preempted(
    pool: CommandLine, client: Allocator, clock: Clock
) -> None:
    """The columns are there only where there is something in them."""
    pool("allocate", "cpu=32", "--ttl", "1h", "--id", "plain")
    assert "PRIORITY" not in pool.out("list")
    pool("release", "plain")
    pool("pool", "set", "--preemption", "on", "--preempt-grace", "30s")
    pool("allocate", "cpu=32", "--ttl", "1h", "--id", "low", "--priority", "-5")
    pool("allocate", "cpu=1", "--ttl", "1h", "--id", "new", "--preempt", "--wait", "1s", code=3)
    table = pool.out("list").splitlines()
    assert table[0].split()[:5] == ["ID", "OWNER", "PRIORITY", "STATUS", "BY"]
    assert table[1].split()[:5] == ["low", "anonymous", "-5", "Preempted", "new"]
    described = pool.out("describe", "low")
    assert "Priority:" in described
    assert "Preempted by:" in described
    assert "preempted by new" in described
    error = pool("renew", "low", code=1)
    assert "preempted by 'new'" in error.stderr
    assert pool.json("renew", "low", code=1)["outcome"] == "preempted"
    clock.advance(30)
    assert client.try_allocate({"cpu": 1}, ttl=60)


def test_the_policy_of_a_pool(cli: CommandLine) -> None:
    """It is shown where it is not the default, and a repeated 'create' with another is refused."""
    asked = ("pool", "create", "cpu=4", "--preemption", "on", "--preempt-protect", "1m")
    cli(*asked)
    assert "unchanged" in cli(*asked).stdout
    shown = cli.out("pool", "show")
    assert "Preemption:" in shown
    assert "Protected for:" in shown
    assert "Preempt grace:" not in shown
    error = cli.error("pool", "create", "cpu=4", "--preemption", "off", code=1)
    assert "--preemption on" in error
    cli("pool", "set", "--preempt-grace", "10s", "--preempt-protect", "0s")
    saved = cli.json("pool", "show")
    assert saved["preemption"] == {"permitted": True, "graceMs": 10_000, "protectMs": 0}
    cli("pool", "set", "--preemption", "off", "--preempt-grace", "30s")
    assert "Preempt" not in cli.out("pool", "show")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("allocate", "cpu=1", "--ttl", "1m", "--preempt"), "--preempt is for a request that waits"),
        (("pool", "set", "--preempt-grace", "0.5s"), "--preempt-grace"),
        (("pool", "set", "--preemption", "yes"), "--preemption"),
        (("check", "cpu=1", "--priority", "1001"), "--priority"),
    ],
)
def test_wrong_usage_names_the_option(pool: CommandLine, words: tuple[str, ...], said: str) -> None:
    """And nothing is changed."""
    assert said in pool.error(*words, code=2)
