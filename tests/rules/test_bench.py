"""The benchmark itself: that it runs, and that it compares like with like.  What it measures is no matter of tests."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from bench import pair_rows, pairs, peer, verbs
from bench.__main__ import main
from bench.comparing import FloorDiffers, compare
from bench.floors import Floor
from bench.handwritten import Pool
from bench.rows import Result, alternate, by_name
from bench.stage import Sizes, Stage
from bench.verbs import Verb
from tests.support.servers import Server

TINY = Sizes(
    rounds=2, calls=100, live=300, stored=300, tasks=5, awaited=50, blocking=10, pairs=10, processes=2, audited=300,
    repeats=1, scopes=20, waiting=40, waiters=5, part=50, settles_s=2.0, resting_s=1.5,
)  # fmt: skip

ROWS = [
    "allocate", "release", "renew", "resize", "denial", "existing", "check", "usage", "get", "batch", "release-many",
    "renew-many", "accounts", "million", "scope", "scopes", "waiting", "waiting-mixed", "woken", "woken-link", "slot",
    "kueue", "pairs-1", "pairs-8", "async", "sync", "memory", "longest",
    "scrape", "observed", "traced", "top",
]  # fmt: skip
"""All rows that need nothing from elsewhere."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(tcp=True) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test asks no registry for anything."""

    def refuse(_words: list[str]) -> None:
        raise OSError("no registry")

    monkeypatch.setattr(peer, "_run", refuse)
    monkeypatch.setattr(pair_rows, "peer_python", lambda: peer.python(Path("/nonexistent")))


@pytest.fixture
def stage(server: Server) -> Iterator[Stage]:
    opened = Stage(server.url)
    yield opened
    opened.close()


def test_every_row_is_measured_and_written_down(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table for people, the JSON for comparing one day with another."""
    results = tmp_path / "latest.json"
    assert main(["--url", server.tcp_url], sizes=TINY, results=results) == 0
    figures = json.loads(results.read_text())["figures"]
    assert [figure["row"] for figure in figures] == ROWS
    assert all(figure["figure"] > 0 for figure in figures)
    shown = capsys.readouterr()
    assert [line.split("|")[1].strip() for line in shown.out.splitlines()[2:]] == ROWS
    assert "given: peer-1 is left out: redis-allocator 0.7.0 cannot be installed: no registry\n" in shown.err
    assert server.ask("DBSIZE") == "0", "the server is left as it was found"


def test_json_is_what_is_written(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that compares runs reads standard output."""
    results = tmp_path / "latest.json"
    main(["--url", server.tcp_url, "--only", "batch", "-o", "json"], sizes=TINY, results=results)
    assert json.loads(capsys.readouterr().out) == json.loads(results.read_text())


def test_a_server_with_data_is_left_alone(server: Server, tmp_path: Path) -> None:
    """The benchmark flushes databases, and somebody will one day give it the wrong URL."""
    server.ask("SET", "precious", "1")
    with pytest.raises(SystemExit, match="has data"):
        main(["--url", server.tcp_url], sizes=TINY, results=tmp_path / "latest.json")
    assert server.ask("GET", "precious") == "1"


@pytest.mark.parametrize("verb", verbs.WRITING, ids=lambda verb: verb.name)
def test_a_floor_writes_what_its_verb_writes(stage: Stage, verb: Verb) -> None:
    """Otherwise the ratio of the two says nothing; the benchmark checks it before each measurement, too."""
    compare(stage, verb)


@pytest.mark.parametrize(
    ("verb", "left_out"),
    [
        (verbs.ALLOCATE, "'owner', $owner, "),
        (verbs.ALLOCATE, "'kind', 'granted', "),
        (verbs.ALLOCATE, "'call', $call, "),
        (verbs.RELEASE, "$now_ms, $granting, "),
        (verbs.RELEASE, "redis.call('UNLINK', @record)"),
        (verbs.RENEW, "redis.call('ZADD', @deadlines, $deadline_ms, $id)"),
        (verbs.RESIZE, "'cpu.allocated', $cpu_grown, "),
    ],
    ids=lambda value: value.name if isinstance(value, Verb) else value,
)
def test_a_floor_that_writes_less_is_found_out(stage: Stage, verb: Verb, left_out: str) -> None:
    """A field dropped from the floor would make the verb look slow; one dropped from the verb, fast."""
    assert verb.floor is not None
    assert left_out in verb.floor.template
    lesser = dataclasses.replace(verb, floor=Floor(verb.floor.template.replace(left_out, "", 1)))
    with pytest.raises(FloorDiffers):
        compare(stage, lesser)


def test_a_row_whose_floor_differs_is_left_out(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be a figure of nothing; the other rows are measured all the same, and the line says what differs."""
    monkeypatch.setattr(verbs, "RENEW", dataclasses.replace(verbs.RENEW, floor=Floor("return 1")))
    main(["--url", server.tcp_url, "--only", "renew", "--only", "get"], sizes=TINY, results=tmp_path / "latest.json")
    shown = capsys.readouterr()
    assert "renew is left out: renew and its floor leave different things behind" in shown.err
    assert "deadline_ms" in shown.err
    assert [line.split("|")[1].strip() for line in shown.out.splitlines()[2:]] == ["get"]


def test_a_call_that_is_answered_otherwise_is_no_figure(stage: Stage) -> None:
    """A release of what is not there is quick, and would be praised."""
    commands = verbs.RELEASE.commands(stage, 3)
    assert stage.cpu_us(Stage.EMPTY, commands, "released") >= 0
    stage.fresh()
    with pytest.raises(AssertionError, match="unknown"):
        stage.cpu_us(Stage.EMPTY, commands, "released")


@pytest.mark.parametrize("path", ["", "/0"])
def test_a_million_lie_in_a_database_of_their_own(server: Server, path: str) -> None:
    """redis-py heeds the number in a URL more than what it is told besides: both were one database for a while."""
    stage = Stage(server.tcp_url.removesuffix("/0") + path)
    try:
        stage.fresh(Stage.FULL)
        verbs.fill(stage, Stage.FULL, 10)
        stage.fresh()
        assert [stage.client(db).zcard(verbs.KEYS["deadlines"]) for db in (Stage.EMPTY, Stage.FULL)] == [0, 10]
    finally:
        stage.close()


def test_another_database_is_refused(server: Server) -> None:
    """Stage and clients would measure different ones."""
    with pytest.raises(SystemExit, match="databases 0 and 1"):
        Stage(server.tcp_url.removesuffix("/0") + "/7")


@pytest.mark.parametrize("side", ["ours", "handwritten"])
def test_a_process_makes_pairs_that_leave_nothing_behind(stage: Stage, side: str) -> None:
    """What is not given back would fill the pool, and a refusal is quick."""
    stage.fresh()
    prepare, pair = pairs.SIDES[side](stage.url)
    prepare()
    for _ in range(3):
        pair()
    assert not [key for key in stage.client().scan_iter() if "allocation" in key or "record" in key]


def test_what_is_handwritten_keeps_its_limits(server: Server) -> None:
    """It is to be fair: one that checked nothing would be quicker still."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        pool = Pool(client, "own")
        pool.create(cpu=4000, memory=8 << 30)
        first = pool.allocate("alice", cpu=3000, memory=1 << 30, ttl=60)
        assert first is not None
        assert pool.allocate("bob", cpu=2000, memory=1 << 30, ttl=60) is None
        assert pool.allocate("bob", cpu=1000, memory=8 << 30, ttl=60) is None
        assert [pool.release(first), pool.release(first)] == [True, False]
        assert client.hgetall("own:pool") == {
            "cpu": "0", "cpu_limit": "4000", "memory": "0", "memory_limit": str(8 << 30),
        }  # fmt: skip
        assert client.keys() == ["own:pool"]


def test_a_crew_whose_process_dies_is_told_of(stage: Stage) -> None:
    """The benchmark ends by itself, whatever happens to its processes."""
    crew = pair_rows.Crew(Path(sys.executable), "handwritten", stage.url, 2)
    try:
        crew.await_answers()
        crew.kill()
        with pytest.raises((RuntimeError, OSError)):
            crew.per_second(stage, 10)
    finally:
        crew.close()


def test_variants_take_turns_and_the_first_round_does_not_count() -> None:
    """A slow start, or a busy minute, falls on both sides alike."""
    turns: list[str] = []

    def variant(name: str, values: list[float]) -> float:
        turns.append(name)
        return values.pop(0)

    slow, fast = [100.0, 4.0, 40.0, 6.0], [1.0, 2.0, 20.0, 2.0]
    result = alternate(3, ("slow", "fast"), slow=lambda: variant("slow", slow), fast=lambda: variant("fast", fast))
    assert turns == ["fast", "slow", "slow", "fast", "fast", "slow", "slow", "fast"]
    assert result == Result(2.0, 2.0, 3.0, {"slow": 6.0, "fast": 2.0})


def test_verdicts_know_which_way_is_better() -> None:
    """Bytes and slow-downs are to be small, ratios to a floor large."""
    rows = by_name()
    assert [rows["sync"].verdict(figure) for figure in (0.49, 0.5, 0.65)] == ["MISSED", "passed", "aim"]
    assert [rows["memory"].verdict(figure) for figure in (441, 440, 400)] == ["MISSED", "passed", "aim"]
