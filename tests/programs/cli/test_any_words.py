"""A thousand command lines, drawn from good words and bad ones: each ends with a documented exit code."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from allocator.apps.cli.errors import ExitCode
from allocator.apps.cli.root import COMMANDS, root
from allocator.testing import Clock
from tests.programs.cli.conftest import CommandLine
from tests.programs.cli.test_help import commands

LINES = 1_000
PARTS = 10
"""Each part has its own seed and store, so that the processes of a test run share them."""

NUMBERS = ("0", "1", "-1", "5", "9" * 17, "9" * 400, "1e3", "nan", "", "\u0663", "0x1", "1_0")
DURATIONS = ("0s", "1s", "90s", "10m", "1d", "31d", "10", "-1s", "", "none", "9" * 31 + "d", "1.5s", "\u0661s")
QUANTITIES = ("1", "0", "500m", "4Gi", "-1", "1e999", "9Ei", "", "two", "128", "0.1", "1" * 400, "+2", "1Gi=", "\u0662")
RESOURCES = ("cpu", "memory", "nvidia.com/gpu", "CPU", "hugepages-2Mi", "HugePages-1Gi", "", "a b", "x" * 200, "{}")
NAMES = ("default", "gpu", "none", "a{b}", "", "-", "a" * 300, "ü", "\udcff", "a\nb", "*", "job/*", "..", "\x1b[2J")
IDS = ("job-1", "job-2", "job", "none", "a b", "", "\udcff", "x" * 200, "a/b:c", "\u202e", "-1")
URLS = ("localhost:1", "redis//h", "http://h", "memory://", "", "redis://:SECRET@h:port", "\udcff", "://")
UNITS = (
    "cpu=1",
    "cpu=500",
    "cpu=0",
    "memory=1",
    "CPU=1",
    "x=1",
    "cpu=-1",
    "cpu=",
    "=1",
    "cpu",
    "cpu=1e999",
    "cpu=\u0661",
)
BY_OPTION: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ttl", "grace", "older_than", "max_ttl", "recovery_grace"), DURATIONS),
    **dict.fromkeys(("fence", "generation", "limit", "as_of", "max_released", "watch"), NUMBERS),
    **dict.fromkeys(("whole_units", "remove"), RESOURCES),
    **dict.fromkeys(("reserved", "min_unit", "max_unit", "step", "overcommit_permille"), UNITS),
    "url": URLS,
    "prefix": (*NAMES, "allocator"),
    "timeout": ("1", *NUMBERS),
    "output": ("json", "yaml", "name", "wide", "xml"),
    "meta": ("k=1", "k", "=", "k=\udcff", "k=\x1b", "allocated=1", "k=" + "v" * 5_000),
    "durability": ("memory", "fsynced", "replicated:1", "replicated:0", "both", ""),
    "sort_by": ("age", "cpu", "CPU", "", "\udcff"),
    "id_": IDS,
    "server": ("7.0", "9"),
    "wait": ("0s", "0.01s", "1", "10d", "x"),
    "priority": ("0", "7", "-1000", "1001", "x"),
    "queue_policy": ("strict", "contended", "fair"),
    "queue_passes_max": ("0", "-1", "5"),
    "address": ("127.0.0.1", "::1", "203.0.113.1", "", "a" * 300, "\udcff"),
    "port": ("0", "-1", "65536", "x"),
    "audit_every": DURATIONS,
    "scopes": NUMBERS,
}
"""Parameter -> words for it; others get a name."""


def assignments(draw: random.Random) -> list[str]:
    """Some of RESOURCE=QUANTITY, now and then one that is none."""
    known = ("cpu", "memory") if draw.random() < 0.7 else RESOURCES
    return [
        draw.choice(("cpu", "=", "=1", draw.choice(NAMES)))
        if draw.random() < 0.1
        else f"{draw.choice(known)}={draw.choice(QUANTITIES)}"
        for _ in range(draw.choice((0, 1, 1, 2, 3)))
    ]


def argument(draw: random.Random, one: click.Argument, files: list[str]) -> list[str]:
    """Words for an argument; none, now and then."""
    words: dict[str, Callable[[], list[str]]] = {
        "resources": lambda: assignments(draw),
        "words": lambda: [*([draw.choice(NAMES)] if draw.random() < 0.3 else []), *assignments(draw)],
        "ids": lambda: draw.choices(IDS, k=draw.choice((1, 1, 2))),
        "id_": lambda: [draw.choice(IDS)],
        "file": lambda: [draw.choice(files)],
        "pools": lambda: draw.choices(NAMES, k=draw.choice((0, 1, 2))),
    }
    made = words.get(one.name or "", lambda: [draw.choice(("bash", "cron", *NAMES))])
    return [] if draw.random() < 0.1 else made()


def command_line(draw: random.Random, known: list[tuple[str, click.Command]], files: list[str]) -> list[str]:
    """One command with some of its options and arguments, at random."""
    path, command = draw.choice(known)
    words = path.split()
    if draw.random() < 0.03:
        words[-1] = draw.choice(("alocate", "ls", "", "\udcff", *NAMES))
    for one in command.params:
        if isinstance(one, click.Argument):
            words += argument(draw, one, files)
        elif isinstance(one, click.Option) and draw.random() < (0.6 if one.required else 0.12):
            words.append(draw.choice(one.opts))
            if not one.is_flag:
                words.append(draw.choice(BY_OPTION.get(one.name or "", NAMES)))
    if draw.random() < 0.05:
        words.insert(
            draw.randrange(len(words) + 1), draw.choice(("--", "-", "--colour", "-x", "--pool", "-o", "\udcff"))
        )
    return words


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Files of all kinds."""
    contents: dict[str, bytes] = {
        "ids": b"job-1\n\njob-2\n",
        "empty": b"",
        "bad": b"a b\n",
        "bytes": b"\xff\xfe\x00",
        "object": b"{}",
        "list": b"[1]",
        "deep": b"[" * 50_000,
        "pool": b'{"kind": "Pool", "name": 1, "capacity": [], "epoch": null}',
        "number": b"1e999",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [*(str(tmp_path / name) for name in contents), str(tmp_path), str(tmp_path / "none"), "-", "", "\udcff"]


@pytest.mark.parametrize("part", range(PARTS))
def test_any_command_line_ends_with_a_documented_exit_code(
    pool: CommandLine, clock: Clock, monkeypatch: pytest.MonkeyPatch, files: list[str], part: int
) -> None:
    """Never with a traceback, never with a bug, and without the password that a URL may have."""

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("allocator.apps.cli.watch.time.sleep", interrupt)
    monkeypatch.setattr("allocator.apps.exporter.command._until_stopped", lambda: interrupt(0))
    monkeypatch.setattr("allocator.apps.dashboard.command.serve", lambda *_: interrupt(0))
    known = [
        (path, command)
        for path, command in commands(root)
        if not isinstance(command, click.Group) and path.split()[0] in COMMANDS and not path.startswith("embedded")
    ]
    draw = random.Random(part)
    codes: set[int] = set()
    for _ in range(LINES // PARTS):
        words = command_line(draw, known, files)
        result = CliRunner().invoke(root, words, prog_name="resource-allocator", input="job-1\n")
        shown = f"{words}\n{result.output}"
        assert isinstance(result.exception, SystemExit | None), shown
        assert result.exit_code in set(ExitCode), shown
        assert "Traceback" not in result.output or "--verbose" in words or "-v" in words, shown
        assert "error: unexpected " not in result.stderr, shown
        assert "SECRET" not in result.output, shown
        assert "\x1b" not in result.stderr, shown
        if "Traceback" not in result.output:
            assert not {part for part in result.stderr.split() if part in ("None", "{}")}, shown
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert (
            result.exit_code in (0, 130, 141) or errors or "Usage:" in result.stderr or result.stdout or "-q" in words
        ), shown
        codes.add(result.exit_code)
        clock.advance(1)
    assert {0, 2} <= codes
