"""What a pool promises beyond its capacity, and what is done after a loss of data, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from allocator.testing import Clock
from tests.programs.cli.conftest import CommandLine


def test_a_pool_is_made_and_changed_with_promises(cli: CommandLine) -> None:
    """They are shown where a person looks, and in JSON."""
    cli.out("pool", "create", "lab", "cpu=4", "--recovery-grace", "30s", "--durability", "replicated:1", "--new")
    shown = cli.out("pool", "show", "lab")
    assert "Recovery grace" in shown
    assert "30s" in shown
    assert "25s" in shown, "the longest ttl"
    assert "replicated:1" in shown
    cli.out("pool", "set", "lab", "--recovery-grace", "0s", "--durability", "memory")
    told = cli.json("pool", "show", "lab")
    assert (told["recoveryGraceMs"], told["maxTtlMs"], told["durability"]) == (0, 0, "memory")


def test_a_pool_limits_the_lives_of_its_allocations(cli: CommandLine) -> None:
    """Shown, compared by a repeated create, and removed by 0s."""
    words = ("pool", "create", "lab", "cpu=4", "--max-lifetime")
    cli.out(*words, "1d")
    assert "Longest life" in cli.out("pool", "show", "lab")
    assert cli.json("pool", "show", "lab")["maxLifetimeMs"] == 86_400_000
    assert "--max-lifetime 1d" in cli(*words, "2d", code=1).stderr
    assert " ends=" in cli.out("allocate", "cpu=1", "--pin", "--pool", "lab")
    cli.out("pool", "set", "lab", "--max-lifetime", "0s")
    assert cli.out("allocate", "cpu=1", "--pin", "--pool", "lab").endswith(" pinned\n")


def test_a_new_pool_that_grants_nothing_yet_says_so(cli: CommandLine) -> None:
    """Once, by the command that makes it; not where there was no pool of that name."""
    words = ("pool", "create", "lab", "cpu=4", "--recovery-grace", "65s")
    assert cli(*words).stderr == (
        "note: lab grants nothing for 1m5s, as a lost pool of this name may have holders: "
        "'pool end-recovery lab' ends it, and --new says that there was none\n"
    )
    assert cli(*words).stderr == ""
    assert cli(*words, "-q").stderr == ""
    cli.out("pool", "create", "new", "cpu=4", "--recovery-grace", "65s", "--new")


def test_a_ttl_that_outlasts_the_recovery_grace_is_a_note(cli: CommandLine) -> None:
    """By each command that makes it so, and by no other."""
    said = "note: the longest ttl (1h) is longer than the recovery grace (10s): after a loss of data two may"
    words = ("--recovery-grace", "10s", "--max-ttl", "1h")
    assert cli("pool", "create", "lab", "cpu=4", *words, "--new").stderr.startswith(said)
    assert cli("pool", "set", "lab", *words).stderr.startswith(said)
    assert cli("pool", "set", "lab", "--max-ttl", "0s").stderr.startswith("note: any ttl is granted, also beyond the ")
    cli.out("pool", "set", "lab", "cpu=5")
    cli.out("pool", "set", "lab", "--max-ttl", "10s")


def test_a_lost_pool_is_recovered_from_what_was_shown_of_it(cli: CommandLine, tmp_path: Path) -> None:
    """And says so until somebody ends it."""
    cli.out("pool", "create", "lab", "cpu=4", "--recovery-grace", "30s", "--new")
    saved = tmp_path / "pool.json"
    told = cli.json("pool", "show", "lab")
    saved.write_text(json.dumps({**told, "name": "lost"}))
    assert "recovering" in cli.out("pool", "recover", str(saved))
    assert "Recovering" in cli.out("pool", "show", "lost")
    assert cli.json("pool", "show", "lost")["epoch"] == told["epoch"]
    assert "recovers" in cli("allocate", "cpu=1", "--ttl", "10s", "--pool", "lost", code=5).stderr
    cli.out("pool", "end-recovery", "lost")
    cli.out("allocate", "cpu=1", "--ttl", "10s", "--pool", "lost")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": 1}'])
def test_what_is_no_pool_is_not_recovered(cli: CommandLine, tmp_path: Path, text: str) -> None:
    """It is somebody's file."""
    saved = tmp_path / "pool.json"
    saved.write_text(text)
    assert "is not what 'pool show -o json' prints" in cli.error("pool", "recover", str(saved), code=2)


def test_a_release_is_begun(cli: CommandLine) -> None:
    """And shown as such."""
    cli.out("pool", "create", "cpu=4")
    cli.out("allocate", "cpu=1", "--ttl", "1h", "--id", "a")
    assert "a releasing until" in cli.out("begin-release", "a", "--grace", "5s")
    assert cli.json("describe", "a")["status"] == "Releasing"
    assert "being released" in cli("renew", "a", code=1).stderr


def test_an_owner_is_reconciled(cli: CommandLine, clock: Clock, tmp_path: Path) -> None:
    """One line of JSON; more than half is refused with the numbers."""
    cli.out("pool", "create", "cpu=4")
    for name in ("a", "b"):
        cli.out("allocate", "cpu=1", "--ttl", "1h", "--id", name, "--owner", "me")
    clock.advance(1)  # what was granted in that very millisecond is kept
    as_of = str(cli.json("usage")["readMs"])
    live = tmp_path / "live"
    live.write_text("")
    refused = cli.error("reconcile", str(live), "--owner", "me", "--as-of", as_of, code=3)
    assert (
        "2 of 2 allocations of 'me' would be released, at most 0 may be: the listing is empty: --max-released "
        in refused
    )
    live.write_text("a\n")
    told = json.loads(cli.out("reconcile", str(live), "--owner", "me", "--as-of", as_of))
    assert (told["count"], told["released"], told["kept"], told["missing"]) == (1, ["b"], 1, [])


def test_the_doctor_says_what_to_change(cli: CommandLine) -> None:
    """Of the store in this process little is told; the scripts are tried."""
    shown = cli.out("doctor")
    assert "were tried on a scratch pool" in shown
    told = cli.json("doctor")
    assert told["fit"] is True
    assert {item["verdict"] for item in told["items"]} <= {"ok", "warn", "unknown"}


@pytest.mark.parametrize("role", ["controller", "inspector", "cron"])
def test_users_are_printed_to_be_pasted(cli: CommandLine, role: str) -> None:
    """Quoted for a shell; for the prefix and the pool that are named."""
    shown = cli.out("acl", role, "--user", "labs", "--only", "lab", "--prefix", "mine")
    assert shown.startswith("redis-cli ACL SETUSER labs reset on '>PASSWORD' resetchannels -@all ")
    assert "mine:{lab}:*" in shown
    assert cli.out("acl", role, "--file").startswith(f"user {role} on >PASSWORD ")
    assert [item["name"] for item in cli.json("acl")["items"]] == ["controller", "inspector", "cron"]
