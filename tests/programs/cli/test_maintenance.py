"""cleanup and audit."""

from __future__ import annotations

import json
from typing import Any

import fakeredis
import pytest

from allocator._engine.transport.in_process import InProcessServer
from allocator._sync.client import Allocator
from allocator._sync.maintenance import Maintenance
from allocator.models.allocations import Request
from allocator.models.maintenance import Audit, Finding
from allocator.testing import Clock
from tests.programs.cli.conftest import CommandLine


def cleanup(pool: CommandLine, *options: str) -> dict[str, Any]:
    """Run one and return its line; there is exactly one."""
    [line] = pool.out("cleanup", *options).splitlines()
    document: dict[str, Any] = json.loads(line)
    assert (document.pop("apiVersion"), document.pop("kind")) == ("allocator/v1", "Cleanup")
    return document


@pytest.fixture
def due(pool: CommandLine, clock: Clock) -> CommandLine:
    """Two allocations past their deadline, one before it, and one pinned two hours ago."""
    pool("allocate", "cpu=1", "--pin", "--id", "pinned")
    clock.advance(7200)
    for name in ("a", "b"):
        pool("allocate", "cpu=1", "--ttl", "30s", "--id", name)
    pool("allocate", "cpu=1", "--ttl", "10m", "--id", "live")
    clock.advance(60)
    return pool


def test_cleanup_takes_what_is_due_and_says_so_in_one_line(due: CommandLine) -> None:
    """A second run finds nothing, and that is no error: cron mails on errors."""
    done = cleanup(due)
    assert sorted(done.pop("ids")) == ["a", "b"]
    assert done == {"pool": "default", "dryRun": False, "count": 2, "more": False}
    assert cleanup(due) == {"pool": "default", "dryRun": False, "count": 0, "more": False, "ids": []}
    assert due.out("list", "-q", "--sort-by", "id") == "live\npinned\n"


def test_cleanup_takes_pinned_ones_by_age_only_when_told(due: CommandLine) -> None:
    """What a living holder keeps renewing is never taken by age."""
    assert cleanup(due, "--older-than", "3h")["count"] == 2
    assert cleanup(due, "--older-than", "1h")["ids"] == ["pinned"]
    assert due.out("list", "-q") == "live\n"


def test_cleanup_stops_at_its_limit_and_says_that_there_is_more(due: CommandLine) -> None:
    """Bounded, so that a cron job cannot run into its successor."""
    first = cleanup(due, "--limit", "1")
    assert (first["count"], first["more"]) == (1, True)
    assert cleanup(due)["count"] == 1


def test_the_line_of_a_cleanup_stays_readable(pool: CommandLine, client: Allocator, clock: Clock) -> None:
    """It counts all and names a hundred."""
    requests = [Request({"cpu": "1m"}, ttl=30, id=f"job-{number}") for number in range(120)]
    assert all(client.allocate_many(requests))
    clock.advance(60)
    assert cleanup(pool, "--dry-run")["count"] == 120
    done = cleanup(pool)
    assert (done["count"], done["more"], len(done["ids"])) == (120, False, 100)


def test_a_dry_run_changes_nothing(due: CommandLine) -> None:
    """It names what the next run would take, by the server's clock and within the same bound."""
    assert sorted(cleanup(due, "--dry-run")["ids"]) == ["a", "b"]
    assert sorted(cleanup(due, "--dry-run", "--older-than", "1h")["ids"]) == ["a", "b", "pinned"]
    bounded = cleanup(due, "--dry-run", "--limit", "1")
    assert (bounded["dryRun"], bounded["count"], bounded["more"], len(bounded["ids"])) == (True, 1, True, 1)
    assert due.json("usage")["allocations"] == 4


@pytest.mark.parametrize("format", ["table", "wide", "yaml", "name", "json"])
def test_cleanup_prints_json_whatever_the_format(due: CommandLine, format: str) -> None:
    """Logs of cron jobs are read by programs."""
    assert cleanup(due, "-o", format)["count"] == 2


def test_cleanup_of_a_pool_that_does_not_exist_is_an_error(cli: CommandLine) -> None:
    """A misspelt pool must not look like a clean one."""
    assert cli.error("cleanup", "--pool", "none", code=4).startswith("error: ")


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("-o", "json", "-q")])
def test_cleanup_wants_to_be_told_which_server(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Cron has no variable of a shell's: a store that nobody meant would be cleaned, and the right one never."""
    monkeypatch.delenv("ALLOCATOR_REDIS_URL")
    assert cli.error("cleanup", *options, code=2) == (
        "error: cleanup needs the URL of the server: set ALLOCATOR_REDIS_URL, or give --url\n"
    )


def test_cleanup_takes_the_server_of_an_option_or_of_a_variable(
    due: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever names it."""
    monkeypatch.delenv("ALLOCATOR_REDIS_URL")
    assert cleanup(due, "--url", due.url, "--dry-run")["count"] == 2
    monkeypatch.setenv("REDIS_URL", due.url)
    assert cleanup(due)["count"] == 2


def test_audit_of_a_clean_pool(due: CommandLine) -> None:
    """One line and 0."""
    assert due.out("audit") == "pool default: clean, 4 allocations\n"
    assert due.json("audit")["status"] == "clean"
    assert due.out("audit", "--repair") == "pool default: clean, 4 allocations\n"


def break_counter(cli: CommandLine) -> None:
    """Charge a core to nobody, as only a bug or a person can."""
    store: Any = InProcessServer.named(cli.url.removeprefix("memory://"))
    fakeredis.FakeRedis(**store._options).hincrby("allocator:{default}:pool", "cpu.allocated", 1000)


def test_audit_finds_drift_and_mends_it_only_when_told(due: CommandLine) -> None:
    """3 while something is wrong, 0 once it is mended; a dry run shows the same and mends nothing."""
    break_counter(due)
    result = due("audit", code=3)
    lines = result.stdout.splitlines()
    assert lines[0] == "pool default: drift, 4 allocations, 1 wrong"
    assert lines[1].split() == ["KIND", "SUBJECT", "DETAIL"]
    assert len(lines) == 3
    assert result.stderr == "hint: 'audit --repair' mends it; '--repair --dry-run' shows the same as this\n"
    rehearsed = due("audit", "--repair", "--dry-run", code=3).stdout
    assert rehearsed.startswith("pool default: drift, 4 allocations, 1 would be mended\n")
    assert due.json("audit", code=3)["total"] == 1
    assert due("audit", "--repair").stdout.startswith("pool default: repaired, 4 allocations, 1 mended\n")
    reason = f"drift: {' '.join(lines[2].split()[2:])}"
    assert due.json("events")["items"][-1]["reason"] == reason, "in the quantities of the audit"
    assert due.out("events").splitlines()[-1].endswith(reason)
    assert due.out("audit") == "pool default: clean, 4 allocations\n"


def test_overcommitted_is_no_drift(pool: CommandLine) -> None:
    """It was an administrator's decision."""
    pool("allocate", "cpu=4", "--pin")
    pool("pool", "set", "cpu=2")
    assert pool.out("audit") == ("pool default: clean, 1 allocation\novercommitted, which is no fault: cpu\n")


@pytest.mark.parametrize(
    ("verdict", "code", "last"),
    [
        (
            Audit("default", "inconclusive", 0),
            1,
            "pool default: inconclusive: the pool would not stand still; nothing is claimed, 0 allocations",
        ),
        (Audit("default", "drift", 9, (Finding("counter", "cpu", "x"),), total=250), 3, "... and 249 more"),
    ],
)
def test_verdicts_that_are_hard_to_provoke(
    pool: CommandLine, monkeypatch: pytest.MonkeyPatch, verdict: Audit, code: int, last: str
) -> None:
    """No verdict is no clean bill of health, and a long list says how long."""
    with monkeypatch.context() as patched:
        patched.setattr(Maintenance, "audit", lambda *_, **__: verdict)
        assert pool("audit", code=code).stdout.splitlines()[-1] == last


def test_a_dry_run_of_nothing_is_wrong_usage(pool: CommandLine) -> None:
    """`audit --dry-run` alone suggests that plain `audit` changes something."""
    assert "give both" in pool.error("audit", "--dry-run", code=2)
