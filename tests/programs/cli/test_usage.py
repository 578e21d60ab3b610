"""usage and events, once and watched."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from allocator._sync.events import Events
from allocator._sync.pools import Pools
from allocator.apps.cli import usage as module
from allocator.apps.cli import watch
from allocator.apps.cli.context import App
from allocator.errors import BackendUnavailable
from allocator.models.accounts import ResourceUsage
from allocator.models.events import Event
from tests.programs.cli.conftest import CommandLine


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Callable[[], object]]], None]:
    """Replaces the pauses of --watch by what the test does in them; after the last one comes Ctrl-C."""

    def between(actions: list[Callable[[], object]]) -> None:
        left = list(actions)

        def pause(_seconds: float) -> None:
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr("allocator.apps.cli.watch.time.sleep", pause)

    return between


def test_usage_shows_each_resource_with_a_bar_and_per_cent(pool: CommandLine) -> None:
    """The columns cpu and memory come first; the bar says the same as the number."""
    pool("allocate", "cpu=24", "memory=121Gi", "nvidia.com/gpu=1", "--ttl", "10m")
    pool("allocate", "memory=7Gi", "--pin")
    assert pool.out("usage") == (
        "RESOURCE        ALLOCATED  CAPACITY  AVAILABLE  USE\n"
        "cpu             24         32        8          [|||||||||||||||     ]  75%\n"
        "memory          128Gi      128Gi     0          [||||||||||||||||||||] 100%\n"
        "nvidia.com/gpu  1          8         7          [|||                 ]  12%\n"
        "pool default: 2 allocations, 1 pinned, 0 due\n"
    )
    assert len(pool.out("usage", "--no-headers").splitlines()) == 3


def test_usage_in_json_is_one_reading(pool: CommandLine) -> None:
    """Whole per cent as in the table, amounts twice, the server's time of the reading."""
    pool("allocate", "cpu=1", "--pin")
    document = pool.json("usage")
    assert (document["kind"], document["pool"], document["readAt"]) == ("Usage", "default", "2026-01-01T00:00:00.000Z")
    assert document["resources"]["cpu"] == {
        "allocated": {"quantity": "1", "amount": 1000},
        "capacity": {"quantity": "32", "amount": 32000},
        "reserved": {"quantity": "0", "amount": 0},
        "overcommitPermille": 0,
        "limit": {"quantity": "32", "amount": 32000},
        "kept": {"quantity": "0", "amount": 0},
        "available": {"quantity": "31", "amount": 31000},
        "utilizationPercent": 3,
        "overcommitted": False,
    }
    assert (document["allocations"], document["pinned"], document["due"]) == (1, 1, 0)


def test_an_overcommitted_resource_is_named_so(pool: CommandLine) -> None:
    """The bar is full and the per cent are honest."""
    pool("allocate", "cpu=4", "--pin")
    pool("pool", "set", "cpu=3")
    line = pool.out("usage").splitlines()[1]
    assert line.endswith("0          [||||||||||||||||||||] 133%  overcommitted")


@pytest.mark.parametrize(
    ("capacity", "allocated", "shown"),
    [
        (-10, 14_000, f"[{' ' * 20}]   0%  overcommitted"),
        (10, -14_000, f"[{' ' * 20}]   0%"),
        (10, 14_000, f"[{'|' * 20}] 140000%  overcommitted"),
        (0, 14_000, f"[{'|' * 20}] 100%  overcommitted"),
        (0, 0, f"[{' ' * 20}]   0%"),
    ],
)
def test_a_bar_stays_a_bar_whatever_the_numbers_are(capacity: int, allocated: int, shown: str) -> None:
    """A damaged counter must not fill the screen with blanks."""
    assert module._share(ResourceUsage(capacity=capacity, allocated=allocated)) == shown


@pytest.mark.parametrize(
    ("allocated", "color"), [(0, 32), (69, 32), (70, 33), (89, 33), (90, 31), (100, 31), (120, 31)]
)
def test_colours_follow_the_per_cent(
    pool: CommandLine, monkeypatch: pytest.MonkeyPatch, allocated: int, color: int
) -> None:
    """Green below 70, yellow below 90, red from there; the text is the same without."""
    row = ResourceUsage(capacity=100, allocated=allocated)
    line = f"cpu  {module._share(row)}"
    shown = module._color(line, [row])
    assert f"\x1b[{color}m[" in shown
    assert re.sub(r"\x1b\[[0-9]+m", "", shown) == line


def test_no_color_and_pipes_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets colours unless somebody asked for none."""
    from allocator.apps.cli.context import colored

    assert not colored()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colored()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colored()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not colored()


def test_events_tell_what_changed_the_newest_last(pool: CommandLine) -> None:
    """A refusal changed nothing and is not there."""
    pool("allocate", "cpu=2", "--pin", "--id", "job-1", "--owner", "ctl-1")
    pool("allocate", "cpu=99", "--pin", code=3)
    pool("release", "job-1")
    lines = pool.out("events").splitlines()
    assert lines[0].split() == ["TIME", "TYPE", "ID", "OWNER", "RESOURCES", "REASON"]
    assert [line.split()[1:5] for line in lines[1:]] == [
        ["created", "-", "-", lines[1].split()[4]],
        ["granted", "job-1", "ctl-1", "cpu=2"],
        ["released", "job-1", "ctl-1", "cpu=2"],
    ]
    assert len(pool.out("events", "--limit", "1", "--no-headers").splitlines()) == 1
    assert pool.out("events", "-o", "wide").splitlines()[0].endswith("DETAILS")


def test_events_in_json(pool: CommandLine) -> None:
    """Amounts twice here, too; what is not known is null."""
    pool("allocate", "cpu=2", "--pin", "--id", "job-1")
    created, granted = pool.json("events")["items"]
    assert (created["type"], created["id"], created["fence"]) == ("created", None, None)
    assert (granted["type"], granted["id"], granted["resources"]) == (
        "granted",
        "job-1",
        {"cpu": {"quantity": "2", "amount": 2000}},
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", granted["at"])


def test_watched_without_a_terminal_answers_are_appended(
    pool: CommandLine, rounds: Callable[[list[Callable[[], object]]], None]
) -> None:
    """JSON comes one document a line; Ctrl-C ends it with 130 and no traceback."""
    rounds([lambda: pool_allocates(pool)])
    result = pool("usage", "-o", "json", "--watch", "0.5", code=130)
    assert [json.loads(line)["allocations"] for line in result.stdout.splitlines()] == [0, 1]
    assert "Traceback" not in result.stderr


def test_watched_events_are_printed_once_each(
    pool: CommandLine, rounds: Callable[[list[Callable[[], object]]], None]
) -> None:
    """As `tail -f` does; the headers come once, and nothing where nothing happened."""
    rounds([lambda: pool_allocates(pool), lambda: None])
    lines = pool("events", "--watch", code=130).stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["TYPE", "created", "granted"]


def test_events_since_an_event_a_time_or_a_duration(pool: CommandLine) -> None:
    """Oldest first; what is missing is said, and what is none of these is refused."""
    pool_allocates(pool)
    created, granted = pool.json("events")["items"]
    for since, types in (
        (created["event"], ["granted"]),
        (created["at"], ["created", "granted"]),
        ("10m", ["created", "granted"]),
        ("99999999d", ["created", "granted"]),  # before any year that a calendar has
        ("1-1", ["missed", "created", "granted"]),
    ):
        assert [item["type"] for item in pool.json("events", "--since", since)["items"]] == types
    assert pool.out("events", "--since", granted["event"]) == ""
    assert pool.out("events", "--since", "10m", "--limit", "1", "--no-headers").split()[1] == "created"
    for wrong in ("yesterday", "2026-11-23T16:26:28", "5"):
        assert f"'{wrong}' is no event, time or duration" in pool.error("events", "--since", wrong, code=2)


def test_followed_events_are_printed_as_they_happen(pool: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the latest or those since; the headers come once, and JSON one document a line."""
    watch_events = Events.watch

    def until_one_has_come(self: Events, *, since: Any) -> Iterator[Event]:
        pool_allocates(pool)
        for event in watch_events(self, since=since):
            yield event
            if event.kind == "granted":
                raise KeyboardInterrupt

    monkeypatch.setattr(Events, "watch", until_one_has_come)
    lines = pool("events", "-f", code=130).stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["TYPE", "created", "granted"]
    assert {line.index("cpu=1") - line.index("anonymous") for line in lines[2:]} == {11}
    first = pool.json("events")["items"][0]["event"]
    lines = pool("events", "-f", "--since", first, "-o", "json", code=130).stdout.splitlines()
    assert [item["type"] for line in lines for item in json.loads(line)["items"]] == ["granted"]
    assert "give one of them" in pool.error("events", "-f", "--watch", code=2)


def test_watching_survives_a_server_that_goes_away(
    pool: CommandLine, rounds: Callable[[list[Callable[[], object]]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is when one watches; it is said once, and a server that was never there is still exit code 5."""
    real = Pools.usage

    def broken(*_: object, **__: object) -> object:
        raise BackendUnavailable("connection refused")

    rounds(
        [
            lambda: monkeypatch.setattr(Pools, "usage", broken),
            lambda: None,
            lambda: monkeypatch.setattr(Pools, "usage", real),
        ]
    )
    result = pool("usage", "--watch", "-o", "json", code=130)
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.count("error: connection refused; waiting for it\n") == 1
    monkeypatch.setattr(Pools, "usage", broken)
    assert pool.error("usage", "--watch", code=5).startswith("error: connection refused\n")


def test_a_tall_answer_is_cut_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that scrolled would be drawn below itself again and again."""
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 6)))
    app = App()
    app.url = "redis://:secret@h"
    watch._draw(app, "\n".join("abcdefg"), 2.0, first=True)
    drawn = capsys.readouterr().out
    assert re.sub(r"\x1b\[\??[0-9]*[A-Za-z]", "", drawn).splitlines() == [
        "every 2s  redis://***@h  pool default  (Ctrl-C ends)",
        "",
        "a",
        "b",
        "... 5 more lines",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("usage", "--watch", "0"), "'0' is not a number of seconds from 0.1 to 86400"),
        (("usage", "--watch", "nan"), "'nan' is not a number of seconds from 0.1 to 86400"),
        (("usage", "--watch", "soon"), "'soon' is not a number of seconds from 0.1 to 86400"),
        (("events", "--limit", "0"), "'0' is not a whole number from 1 to 500"),
        (("events", "--limit", "501"), "'501' is not a whole number from 1 to 500"),
        (("events", "--limit", "many"), "'many' is not a whole number from 1 to 500"),
        (("cleanup", "--limit", "0"), "'0' is not a whole number from 1 to 10000"),
    ],
)
def test_bounds_of_numbers_are_checked(pool: CommandLine, words: tuple[str, ...], said: str) -> None:
    """An interval of zero would be a load test."""
    assert said in pool.error(*words, code=2)


def pool_allocates(pool: CommandLine) -> None:
    """Something happens meanwhile."""
    pool("allocate", "cpu=1", "--pin")
