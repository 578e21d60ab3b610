"""What a person types: one grammar, and one line that says what would be right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from allocator._sync.client import Allocator
from allocator._sync.pools import Pools
from allocator.denials import Denial
from allocator.errors import BackendUnavailable, Insufficient
from allocator.testing import Clock
from tests.programs.cli.conftest import CommandLine


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pool", "create", "x", "cpu=32", "memory=128"), "memory: '128' is 128 bytes, for it has no unit: was "),
        (("pool", "set", "memory=64"), "memory: '64' is 64 bytes"),
        (("pool", "set", "storage=1"), "storage: '1' is 1 byte, for it has no unit"),
        (("pool", "set", "hugepages-2Mi=512"), "hugepages-2Mi: '512' is 512 bytes"),
        (("allocate", "ephemeral-storage=100", "--pin"), "ephemeral-storage: '100' is 100 bytes"),
        (("allocate", "memory=500m", "--pin"), "memory: '500m' is less than a byte, as m is a fraction of a byte"),
        (("check", "memory=0.5"), "memory: '0.5' is less than a byte"),
        (("resize", "x", "memory=4"), "memory: '4' is 4 bytes"),
        (("pool", "create", "x", "CPU=32"), "'CPU' differs from 'cpu' by its case only: write cpu"),
        (("pool", "set", "Memory=128Gi"), "'Memory' differs from 'memory' by its case only"),
        (("pool", "set", "--remove", "Cpu"), "'Cpu' differs from 'cpu' of the pool by its case only"),
        (("pool", "create", "x", "cpu=1", "--whole-units", "CPU"), "'CPU' differs from 'cpu' by its case only"),
        (("pool", "set", "HugePages-2Mi=1Gi"), "'HugePages-2Mi' differs from 'hugepages-2Mi' by its case only"),
        (("allocate", "Cpu=1", "--pin"), "'Cpu' differs from 'cpu' by its case only"),
        (("allocate", "gpu=1", "GPU=2", "--pin"), "'gpu' and 'GPU' differ by their case only: give one"),
        (("pool", "set", "nvidia.com/GPU=4"), "'nvidia.com/GPU' differs from 'nvidia.com/gpu' of the pool by its case"),
        (("list", "--sort-by", "CPU"), "'CPU' is none of age, deadline, id, owner, cpu, memory, nvidia.com/gpu: "),
        (("allocate", "cpu=0", "--pin"), "nothing is asked for, as every quantity is 0: write for instance cpu=1"),
        (("check", "cpu=0", "memory=0"), "nothing is asked for"),
        (("audit", "--offline"), "--offline holds back new grants during a --repair: give both"),
        (("begin-release", "x", "--grace", "31d"), "'31d' is not within 1s and 30d"),
        (("pool", "set", "--recovery-grace", "2h"), "'2h' is not within 1s and 1h; 0s removes it"),
        (("pool", "set", "--recovery-grace", "3s"), "--recovery-grace: 3s must be at least 6s: 5s to notice a"),
        (("pool", "create", "x", "cpu=1", "--whole-units", "b"), "--whole-units names 'b', which the pool does not"),
        (("renew", "x", "--fence", "9" * 30), "is not a whole number of 1 or more"),
        (("pool", "set", "cpu=1", "--generation", "9" * 17), "is not a whole number of 1 or more"),
        (
            ("reconcile", "/dev/null", "--owner", "me", "--as-of", "1795737600"),
            "--as-of: 1795737600 is before 2001, as it counts milliseconds: were seconds meant? Write 1795737600000",
        ),
        (("reconcile", "/dev/null", "--owner", "me", "--as-of", "0"), "--as-of: 0 is before 2001, as it counts milli"),
        (("reconcile", "/dev/null", "--owner", "me", "--as-of", "9" * 17), "is not a whole number of 0 or more"),
        (("allocate", "cpu=1", "--pin", "--meta", "a b=1"), "--meta: 'a b' is not allowed"),
        (("usage", "t2", "--pool", "t3"), "two pools are named, "),
        (("pool", "create", "t2", "cpu=1", "--pool", "t3"), "two pools are named, "),
        (("cleanup", "t2", "--pool", "t3"), "pools are named by POOL and by --pool"),
        (("cleanup", "t2", "--all-pools"), "--all-pools needs no name of a pool"),
        (("pool", "delete", "--yes"), "no pool is named: write POOL, or --pool POOL"),
        (("acl", "--user", "labs"), "--user names one user: give its ROLE"),
        (("usage", "--url", "localhost:7411"), "it does not say how to connect: write redis://localhost:7411"),
        (("usage", "--url", "[::1]:7411/2"), "write redis://[::1]:7411/2"),
        (("usage", "--url", "me:SECRET@h"), "write redis://HOST:PORT"),
    ],
)  # fmt: skip
def test_one_line_says_what_would_be_right(pool: CommandLine, words: tuple[str, ...], said: str) -> None:
    """Exit code 2, in the words of the command line, and nothing is changed."""
    line, *hints = pool.error(*words, code=2).splitlines()
    assert said in line
    assert len(hints) <= 1
    assert not {"{'", "=True", "None", "SECRET", "max_ttl", "whole_units"} & {part for part in line.split() if part}
    assert pool.json("pool", "show")["generation"] == 1


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("alocate",), "allocate"),
        (("ls",), "list"),
        (("pools",), "pool list"),
        (("Usage",), "usage"),
        (("desribe",), "describe"),
        (("pool", "crate"), "create"),
        (("pool", "rm"), "delete"),
        (("embedded", "stats"), "status"),
    ],
)
def test_a_word_that_is_no_command_is_answered_with_the_one_that_was_meant(
    cli: CommandLine, words: tuple[str, ...], meant: str
) -> None:
    """At the root and in each group, also in the words of other programs."""
    assert f"Did you mean '{meant}'?" in cli.error(*words, code=2)


def test_a_misspelt_resource_or_pool_is_answered_with_the_one_that_was_meant(
    pool: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool's name only at a terminal: to list the pools is more than a script wants to pay for."""
    assert "hint: was cpu meant?" in pool("allocate", "cpus=1", "--pin", code=3).stderr
    for wrong, meant in (("cpus", "cpu"), ("nvidia.com/gpus", "nvidia.com/gpu")):
        told = pool("pool", "set", f"{wrong}=3").stderr
        assert told == f"note: {wrong} is a resource like any other, counted in pieces: was {meant} meant?\n"
        assert pool("pool", "set", f"{wrong}=4").stderr == "", "the pool counts it already"
    assert "hint: was nvidia.com/gpu meant?" in pool("check", "nvidia.com/GPU=1", code=3).stderr
    assert "was memory meant?" in pool("pool", "create", "gpu", "memroy=1Gi").stderr
    assert "meant" not in pool.error("usage", "defualt", code=4)
    monkeypatch.setattr("allocator.apps.cli.root.at_terminal", lambda: True)
    assert "hint: was default meant?" in pool.error("usage", "defualt", code=4)


@pytest.mark.parametrize("command", ["usage", "list", "events", "audit", "cleanup", "pool show", "pool upgrade"])
def test_a_pool_is_an_argument_or_an_option_everywhere(pool: CommandLine, command: str) -> None:
    """`usage t2` is as good as `pool show t2`, and `pool delete --pool t2` as `usage --pool t2`."""
    pool("pool", "create", "gpu", "cpu=1")
    for words in (("gpu",), ("--pool", "gpu"), ("gpu", "--pool", "gpu")):
        assert "gpu" in pool(*command.split(), *words, "-o", "json").stdout
    assert pool.error(*command.split(), "none", code=4).startswith("error: there is no pool 'none'\n")
    assert pool.out("pool", "delete", "--pool", "gpu", "--yes") == "pool gpu deleted\n"


def test_the_pool_of_the_command_line_is_the_one_of_acl(cli: CommandLine) -> None:
    """`--only` and `--pool` are one thing; the environment's is only a default."""
    assert cli.out("acl", "cron", "--pool", "gpu") == cli.out("acl", "cron", "--only", "gpu")
    assert "{gpu}" in cli.out("acl", "cron", "--pool", "gpu")


def test_owners_are_a_pattern_in_list_as_in_reconcile(pool: CommandLine) -> None:
    """One name, or all that begin alike."""
    for name, owner in (("a", "team/x"), ("b", "team/y"), ("c", "other")):
        pool("allocate", "cpu=1", "--pin", "--id", name, "--owner", owner)
    assert pool.out("list", "-q", "--owner", "team/*", "--sort-by", "id") == "a\nb\n"
    assert pool.out("list", "-q", "--owner", "team/x") == "a\n"
    assert pool.error("list", "--owner", "*", code=2).startswith("error: owner: ")


def test_one_thing_has_one_wording_and_one_of_a_thing_is_singular(pool: CommandLine) -> None:
    """Whatever command is asked."""
    for words in (
        ("resize", "x", "cpu=1"),
        ("begin-release", "x", "--grace", "5s"),
        ("describe", "x"),
        ("release", "x"),
    ):
        assert pool.error(*words, code=4).splitlines()[0] == "error: no live allocation x in pool default", words
    pool("allocate", "cpu=1", "--pin")
    assert pool.out("usage").endswith("pool default: 1 allocation, 1 pinned, 0 due\n")
    assert pool.out("audit") == "pool default: clean, 1 allocation\n"
    assert "has 1 live allocation\n" in pool.error("pool", "delete", "default", "--yes", code=1)


def test_a_denied_resize_has_the_numbers_that_were_typed(pool: CommandLine, client: Allocator) -> None:
    """And in JSON it is the Denial that the library raises."""
    pool("allocate", "cpu=3", "--pin", "--id", "a")
    assert pool.error("resize", "a", "cpu=100", code=3).splitlines()[0] == (
        "error: never fits: pool default: "
        "cpu requested=100 held=3 growth=97 available=29 short=68 (allocated=3 capacity=32)"
    )
    told = pool.json("resize", "a", "cpu=100", code=3)
    assert (told["kind"], told["id"], told["code"]) == ("Denial", "a", "never_fits")
    [row] = told["shortages"]
    assert [row[what]["quantity"] for what in ("requested", "held", "growth", "short")] == ["100", "3", "97", "68"]
    with pytest.raises(Insufficient) as denied:
        client.resize("a", {"cpu": 100})
    assert Denial.from_dict(told) == denied.value.denial


def test_what_an_existing_allocation_ignores_is_said(pool: CommandLine) -> None:
    """A repeat keeps the metadata, and a deadline that is later."""
    request = ("allocate", "cpu=1", "--id", "a")
    pool(*request, "--ttl", "10m", "--meta", "k=1")
    assert pool(*request, "--ttl", "10m", "--meta", "k=1").stderr == ""
    told = pool(*request, "--ttl", "1m", "--meta", "k=2").stderr.splitlines()
    assert told == [
        "note: --ttl is ignored: a has a later deadline; 'renew --ttl --shorten' makes it earlier",
        "note: --meta is ignored: the metadata of a are those of its grant: k=1",
    ]
    assert " ttl=1h " in pool.out(*request, "--ttl", "1h")
    pool(*request, "--pin")
    assert "--ttl is ignored: a is pinned" in pool(*request, "--ttl", "1h").stderr


@pytest.mark.parametrize("option", [("--max-ttl", "1h"), ("--recovery-grace", "30s"), ("--durability", "fsynced")])
def test_a_pool_with_other_options_is_not_taken_for_the_one_wanted(cli: CommandLine, option: tuple[str, ...]) -> None:
    """As one with another capacity."""
    cli("pool", "create", "cpu=1")
    assert f"pool default exists as cpu=1, {option[0]} " in cli.error("pool", "create", "cpu=1", *option, code=1)
    assert cli("pool", "create", "cpu=1", "--new").stderr == "note: --new is ignored: pool default was there already\n"
    cli("pool", "create", "gpu", "cpu=1", *option)
    cli("pool", "create", "gpu", "cpu=1", *option)


def test_cleanup_of_several_or_all_pools(pool: CommandLine, clock: Clock) -> None:
    """One line each; a pool that is not there does not keep the others from being cleaned."""
    pool("pool", "create", "gpu", "cpu=1")
    for name in ("default", "gpu"):
        pool("allocate", "cpu=1", "--ttl", "1s", "--pool", name)
    clock.advance(60)
    result = pool("cleanup", "none", "gpu", "gpu", "default", "--dry-run", code=4)
    assert [json.loads(line)["pool"] for line in result.stdout.splitlines()] == ["gpu", "default"]
    assert result.stderr == "error: there is no pool 'none'\n"
    done = [json.loads(line) for line in pool.out("cleanup", "--all-pools").splitlines()]
    assert [(line["pool"], line["count"]) for line in done] == [("default", 1), ("gpu", 1)]
    assert pool.out("cleanup", "--all-pools", "-q") == ""
    assert pool.error("cleanup", "--all-pools", "--prefix", "none", code=0) == "no pools under the prefix none\n"


def test_quiet_is_silent_only_where_nothing_was_due(pool: CommandLine, clock: Clock, tmp_path: Path) -> None:
    """Cron mails each line."""
    pool("allocate", "cpu=1", "--ttl", "1s", "--id", "a", "--owner", "me")
    assert pool.out("cleanup", "-q") == ""
    clock.advance(60)
    assert json.loads(pool.out("cleanup", "-q"))["ids"] == ["a"]
    (tmp_path / "ids").write_text("a\n")
    assert pool.out("reconcile", str(tmp_path / "ids"), "--owner", "me", "--as-of", "1600000000000", "-q") == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"ok\nbad id\n", "line 2: id: 'bad id' is not allowed"),
        (b"ok\n\xff\n", "line 2 is not UTF-8: byte 0xff"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_listing_that_is_none_is_wrong_input(
    pool: CommandLine, tmp_path: Path, given: bytes | None, said: str
) -> None:
    """With the place in it."""
    path = tmp_path / "ids"
    if given is not None:
        path.write_bytes(given)
    assert said in pool.error("reconcile", str(path), "--owner", "me", "--as-of", "1600000000000", code=2)
    assert "cannot be read: Is a directory" in pool.error("pool", "recover", str(tmp_path), code=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("{}", "name: is missing"),
        ("{\n'", "line 2 column 1: "),
        ("[]", "it is no object"),
        ('{"kind": "PoolList"}', "kind: 'PoolList' is not 'Pool'"),
        ('{"name": "x", "epoch": "", "generation": 1e999}', "state: is missing"),
        ("[" * 100_000, "it is nested too deep"),
    ],
)
def test_a_file_that_is_no_pool_says_why(cli: CommandLine, tmp_path: Path, text: str, said: str) -> None:
    """Not `: 'name'`."""
    (tmp_path / "pool.json").write_text(text)
    line = cli.error("pool", "recover", str(tmp_path / "pool.json"), code=2)
    assert f"pool.json' is not what 'pool show -o json' prints: {said}" in line


def test_advice_for_programs_is_not_given_to_people(pool: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`allow_eviction=True` cannot be typed."""

    def fail(*_: Any, **__: Any) -> None:
        raise BackendUnavailable("h may evict: set noeviction, or pass allow_eviction=True", code="eviction")

    monkeypatch.setattr(Pools, "usage", fail)
    assert pool.error("usage", code=5) == "error: h may evict: set noeviction\n"


def test_the_advice_that_is_left_out_is_the_library_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """If its words change, those of the test above must follow."""
    from allocator._engine.transport.target import EvictionCheck
    from allocator.apps.cli.errors import _EVICTION_ALLOWED

    with pytest.raises(BackendUnavailable) as refused:
        EvictionCheck(allow_eviction=False).check("h", "maxmemory_policy:allkeys-lru")
    assert str(refused.value).endswith(_EVICTION_ALLOWED)


def test_ids_of_the_help_are_those_of_the_documents(client: Allocator) -> None:
    """`kubectl get -o name` prints `labs.example.com/lab-42`, which no document uses as an id."""
    from allocator.apps.cli.maintenance import reconcile

    assert reconcile.help is not None
    assert "-o name" not in reconcile.help
