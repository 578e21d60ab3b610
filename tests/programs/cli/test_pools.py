"""pool create, show, set, list, delete, upgrade."""

from __future__ import annotations

import re
from typing import Any

import fakeredis
import pytest

from allocator._engine.transport.in_process import InProcessServer
from allocator._sync.pools import Pools
from allocator.errors import AllocatorError, ContractError, InvariantError
from allocator.models.pools import Usage
from allocator.testing import Clock
from tests.programs.cli.conftest import FENCE, CommandLine, masked


def test_creating_a_pool_twice_is_the_same_as_once(cli: CommandLine) -> None:
    """A deployment runs it every time."""
    command = ("pool", "create", "cpu=32", "memory=128Gi")
    assert cli.out(*command) == "pool default created: cpu=32,memory=128Gi (generation 1)\n"
    assert cli.out(*command) == "pool default unchanged: cpu=32,memory=128Gi (generation 1)\n"


@pytest.mark.parametrize("other", [("cpu=64",), ("cpu=32", "memory=1Gi"), ("cpu=32", "--whole-units", "cpu")])
def test_a_pool_that_counts_otherwise_is_not_taken_for_the_one_wanted(cli: CommandLine, other: tuple[str, ...]) -> None:
    """Exit code 0 would claim a capacity that is not there."""
    cli("pool", "create", "cpu=32")
    assert cli.error("pool", "create", *other, code=1) == (
        "error: pool default exists as cpu=32\nhint: 'pool set default' changes it\n"
    )


def test_a_pool_is_named_by_argument_or_option(cli: CommandLine) -> None:
    """The argument reads better; the option is what the other commands have."""
    cli("pool", "create", "gpu", "nvidia.com/gpu=8")
    assert cli.json("pool", "show", "gpu")["name"] == "gpu"
    assert cli.json("pool", "show", "--pool", "gpu")["name"] == "gpu"
    assert cli.json("--pool", "gpu", "pool", "show")["name"] == "gpu"
    assert cli.json("pool", "--pool", "gpu", "show")["name"] == "gpu"


def test_the_last_of_two_pools_given_counts(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the command beats before it, and either beats the environment."""
    cli("pool", "create", "gpu", "cpu=1")
    monkeypatch.setenv("ALLOCATOR_POOL", "none")
    assert cli.json("usage", "--pool", "gpu")["pool"] == "gpu"
    assert cli.json("--pool", "gpu", "usage")["pool"] == "gpu"
    assert cli.json("--pool", "other", "usage", "--pool", "gpu")["pool"] == "gpu"
    monkeypatch.setenv("ALLOCATOR_POOL", "gpu")
    assert cli.json("usage")["pool"] == "gpu"


def test_show_has_everything_that_is_configured(pool: CommandLine, clock: Clock) -> None:
    """Compared whole: what is left out here nobody sees."""
    pool("allocate", "cpu=2500m", "nvidia.com/gpu=1", "--pin")
    clock.advance(90)
    shown = masked(pool.out("pool", "show"))
    assert re.sub(r"(Epoch: +)[0-9a-f]+", r"\1EPOCH", shown) == (
        "Name:         default\n"
        "State:        active\n"
        "Allocated:\n"
        "  cpu             2500m of 32\n"
        "  memory          0 of 128Gi\n"
        "  nvidia.com/gpu  1 of 8, whole units\n"
        "Allocations:  1 (1 pinned, 0 due)\n"
        "Generation:   1\n"
        f"Revision:     {FENCE}\n"
        "Schema:       1\n"
        "Epoch:        EPOCH\n"
        "Created:      2026-01-01T00:00:00.000Z (90s ago)\n"
    )


def test_show_in_json_has_the_amounts_twice(pool: CommandLine) -> None:
    """As everywhere."""
    document = pool.json("pool", "show")
    assert document["kind"] == "Pool"
    assert document["capacity"]["memory"] == {"quantity": "128Gi", "amount": 128 * 2**30}
    assert document["allocated"]["cpu"] == {"quantity": "0", "amount": 0}
    assert (document["wholeUnits"], document["generation"]) == (["nvidia.com/gpu"], 1)


def test_set_changes_what_is_named(pool: CommandLine) -> None:
    """What is not named stays."""
    assert pool.out("pool", "set", "cpu=64") == (
        "pool default configured: cpu=64,memory=128Gi,nvidia.com/gpu=8 (generation 2)\n"
    )
    assert pool.out("pool", "set", "default", "--remove", "memory", "--no-whole-units") == (
        "pool default configured: cpu=64,nvidia.com/gpu=8 (generation 3)\n"
    )
    assert pool.json("pool", "show")["wholeUnits"] == []


def test_a_capacity_below_what_is_allocated_is_reported(pool: CommandLine) -> None:
    """Nobody is evicted, so somebody must be told; --strict refuses instead."""
    pool("allocate", "cpu=4", "--pin")
    assert pool.error("pool", "set", "cpu=2", "--strict", code=1).startswith("error: ")
    result = pool("pool", "set", "cpu=2")
    assert result.stderr == "warning: pool default is overcommitted in cpu: 4 are allocated\n"
    assert "  cpu             4 of 2, overcommitted\n" in pool.out("pool", "show")


def test_a_change_may_insist_on_the_generation_that_was_read(pool: CommandLine) -> None:
    """Two administrators do not overwrite each other unknowingly."""
    pool("pool", "set", "cpu=64", "--generation", "1")
    stderr = pool.error("pool", "set", "cpu=16", "--generation", "1", code=1)
    assert stderr.endswith("hint: 'pool show' has the present generation\n")


@pytest.mark.parametrize(
    "words",
    [
        ("pool", "set"),
        ("pool", "set", "default"),
        ("pool", "create", "default"),
        ("pool", "create"),
        ("pool", "set", "cpu=1", "--whole-units", "cpu", "--no-whole-units"),
        ("pool", "create", "cpu=1", "default"),
        ("pool", "create", "a{b}", "cpu=1"),
        ("pool", "create", "cpu=-1"),
    ],
)
def test_an_incomplete_or_contradictory_change_is_wrong_usage(pool: CommandLine, words: tuple[str, ...]) -> None:
    """Exit code 2, and nothing is changed."""
    assert pool.error(*words, code=2).startswith("error: ")
    assert pool.json("pool", "show")["generation"] == 1


def test_delete_asks_at_a_terminal(pool: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool is configuration and history: it should not go by a slip of the hand."""
    monkeypatch.setattr("allocator.apps.cli.pools.at_terminal", lambda: True)
    refused = pool("pool", "delete", "default", input="n\n", code=1)
    assert refused.stderr.startswith("Delete pool default? [y/N]: ")
    assert refused.stderr.endswith("error: nothing was deleted\n")
    assert pool("pool", "delete", "default", input="y\n").stdout == "pool default deleted\n"
    assert pool.error("pool", "show", code=4).startswith("error: ")


def test_delete_without_a_terminal_wants_yes(pool: CommandLine) -> None:
    """Where nobody can be asked, silence is no consent."""
    assert "--yes is needed" in pool.error("pool", "delete", "default", code=2)
    assert pool.out("pool", "delete", "default", "--yes") == "pool default deleted\n"
    assert pool.error("pool", "delete", "default", "--yes", code=4).startswith("error: there is no pool 'default'\n")


def test_delete_of_a_pool_in_use_wants_force(pool: CommandLine) -> None:
    """The capacity that living holders use would be handed out a second time."""
    pool("allocate", "cpu=1", "--pin")
    stderr = pool.error("pool", "delete", "default", "--yes", code=1)
    assert stderr.endswith("hint: --force deletes them with the pool\n")
    pool("pool", "delete", "default", "--yes", "--force")


def test_upgrade_of_a_pool_that_is_current_is_harmless(pool: CommandLine) -> None:
    """A deployment runs it after every roll-out."""
    assert pool.out("pool", "upgrade").startswith("pool default upgraded: cpu=32,memory=128Gi,nvidia.com/gpu=8 ")
    assert pool.json("pool", "upgrade", "default")["schema"] == 1


def test_list_shows_each_pool_with_its_shares(pool: CommandLine, clock: Clock) -> None:
    """allocated/capacity per resource; a dash where a pool does not count it."""
    pool("pool", "create", "gpu", "nvidia.com/gpu=4")
    pool("allocate", "cpu=2", "--pin")
    clock.advance(3 * 3600 + 12 * 60)
    assert pool.out("pool", "list") == (
        "NAME     STATE   CPU   MEMORY   NVIDIA.COM/GPU  ALLOCATIONS  AGE\n"
        "default  active  2/32  0/128Gi  0/8             1            3h12m\n"
        "gpu      active  -     -        0/4             0            3h12m\n"
    )
    assert pool.out("pool", "list", "-o", "name") == "default\ngpu\n"
    assert [item["name"] for item in pool.json("pool", "list")["items"]] == ["default", "gpu"]
    assert (
        pool.out("pool", "list", "-o", "wide").splitlines()[0].endswith("GENERATION  REVISION          SCHEMA  EPOCH")
    )


@pytest.mark.parametrize("error", [InvariantError("not an\n\x1b integer"), ContractError("not an\n\x1b integer")])
def test_a_broken_pool_does_not_hide_the_others(
    pool: CommandLine, monkeypatch: pytest.MonkeyPatch, error: AllocatorError
) -> None:
    """Whoever looks for what is wrong needs the list most; the exit code says that it is not all well."""
    pool("pool", "create", "gpu", "nvidia.com/gpu=4")
    real = Pools.usage

    def usage(pools: Pools, name: str | None = None) -> Usage:
        if name == "default":
            raise error
        return real(pools, name)

    monkeypatch.setattr(Pools, "usage", usage)
    result = pool("pool", "list", code=1)
    assert result.stdout == (
        "NAME     STATE   NVIDIA.COM/GPU  ALLOCATIONS  AGE\n"
        "default  broken  -               -            -\n"
        "gpu      active  0/4             0            0s\n"
    )
    said, hint = result.stderr.splitlines()
    assert said == "error: pool default is broken: not an \\x1b integer"
    assert hint.startswith("hint: 'audit --pool NAME'")
    assert len(pool("pool", "list", "-o", "wide", code=1).stdout.splitlines()[1].split()) == 9
    broken, other = pool.json("pool", "list", code=1)["items"]
    assert broken == {"name": "default", "state": "broken", "error": {"code": error.code, "message": str(error)}}
    assert other["state"] == "active"


def test_a_pool_of_another_type_of_key_is_listed_as_broken(pool: CommandLine) -> None:
    """As the store itself answers it."""
    store: Any = InProcessServer.named(pool.url.removeprefix("memory://"))
    server = fakeredis.FakeRedis(**store._options)
    pool("pool", "create", "odd", "cpu=1")
    server.delete("allocator:{odd}:deadlines")
    server.set("allocator:{odd}:deadlines", "no index")
    result = pool("pool", "list", code=1)
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [["default", "active"], ["odd", "broken"]]
    assert result.stderr.startswith("error: pool odd is broken: ")


def test_list_of_an_empty_store_says_so_on_stderr(cli: CommandLine) -> None:
    """Stdout stays empty for whoever counts lines."""
    assert cli.error("pool", "list", code=0) == "no pools under the prefix allocator\n"
    assert cli.json("pool", "list")["items"] == []


def test_another_prefix_is_another_world(pool: CommandLine) -> None:
    """Two installations may share a server."""
    assert pool.error("pool", "show", "--prefix", "other", code=4).startswith("error: ")
    assert pool.error("pool", "show", "--prefix", "{x}", code=2).startswith("error: prefix: ")
