"""What is printed, and where: closed, narrow and foreign streams, wide characters, numbers for people, silence."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocator._sync.client import Allocator
from allocator.apps.cli import output, usage, watch
from allocator.apps.cli.context import App
from allocator.apps.cli.output import View, human, table, width_of
from allocator.models.accounts import ResourceUsage
from tests.programs.cli.conftest import CommandLine
from tests.support.servers import Server, free_port

ODD = 101 * 2**30 + 2**29 + 1
"""A number of bytes that no suffix divides: 101.5Gi and one."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One for all tests of this file."""
    with Server() as started:
        yield started


@pytest.fixture
def environment(server: Server) -> dict[str, str]:
    """A shell's."""
    kept = {name: text for name, text in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH")}
    return {**kept, "ALLOCATOR_REDIS_URL": server.url, "LANG": "C.UTF-8", "TERM": "xterm", "COLUMNS": "60"}


def shell(environment: dict[str, str], line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell, in which `RA` is the program."""
    line = line.replace("RA", f"{sys.executable} -m allocator")
    return subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, timeout=60, check=False)


def in_terminal(environment: dict[str, str], *words: str) -> str:
    """Run the program in a terminal, and return what it showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "allocator", *words], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 65_536):
            text += piece
    except OSError:  # the program has ended
        pass
    os.close(ours)
    process.wait(timeout=60)
    return text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_keep_nothing_from_being_done(environment: dict[str, str], closed: str) -> None:
    """And a connection that is opened next is not given the descriptor of an output."""
    pool = f"closed{len(closed)}{closed[0] == '<'}"
    assert shell(environment, f"RA pool create {pool} cpu=1 {closed}").returncode == 0
    assert shell(environment, f"RA allocate cpu=1 --pin --id a --pool {pool} {closed}").returncode == 0
    assert shell(environment, f"RA release a --pool {pool} {closed}").returncode == 0
    told = json.loads(shell(environment, f"RA usage {pool} -o json").stdout)
    assert told["allocations"] == 0
    assert shell(environment, f"RA pool delete {pool} {closed}").returncode == 2  # nobody can be asked
    shell(environment, f"RA pool delete {pool} --yes")


def test_stdout_of_another_encoding_shows_what_it_has(environment: dict[str, str]) -> None:
    """One user's metadata must not break everybody's listing, and JSON stays JSON."""
    latin = {**environment, "PYTHONIOENCODING": "latin-1"}
    shell(environment, "RA pool create latin cpu=1")
    made = shell(environment, "RA allocate cpu=1 --pin --id a --pool latin --meta 'k=Übung 実験'")
    assert made.returncode == 0, made.stderr
    for form in ("wide", "json", "yaml"):
        done = subprocess.run(
            [sys.executable, "-m", "allocator", "list", "latin", "-o", form],
            env=latin, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
        text = done.stdout.decode("latin-1")
        assert {"wide": "k=Übung \\u5b9f\\u9a13", "json": '"Übung \\u5b9f\\u9a13"'}.get(form, "") in text
        if form == "json":
            assert json.loads(text)["items"][0]["metadata"] == {"k": "Übung 実験"}
    shell(environment, "RA pool delete latin --yes --force")


def test_json_and_names_cannot_control_a_terminal(pool: CommandLine, client: Allocator) -> None:
    """DEL, C1 controls and those that turn the direction of text are escapes; what is read back is the same."""
    evil = "\x7f\x9b31m\u202e\U000e0001\x1b[2J\n"
    client.allocate({"cpu": 1}, ttl=None, id="a", metadata={"k": evil})
    for form in ("json", "yaml", "wide"):
        shown = pool.out("list", "-o", form)
        assert all(char == "\n" or char.isprintable() for char in shown)
    assert pool.json("list")["items"][0]["metadata"]["k"] == evil
    assert yaml.safe_load(pool.out("list", "-o", "yaml"))["items"][0]["metadata"]["k"] == evil
    assert output.render(_app("name"), View({}, lambda _: "", ["a\x1b"])) == "a\\x1b"


def _app(form: str) -> App:
    app = App()
    app.output = form
    return app


def test_yaml_is_written_by_the_c_library_where_there_is_one(
    pool: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand allocations take seconds without it; the text is the same."""
    pool("allocate", "cpu=1", "--pin", "--id", "a", "--meta", "k=Übung: x", "--meta", "empty=", "--meta", "n=007")
    fast = pool.out("list", "-o", "yaml")
    used: list[object] = []
    real: Any = yaml.dump
    monkeypatch.setattr(yaml, "dump", lambda *args, **more: used.append(more["Dumper"]) or real(*args, **more))
    assert pool.out("list", "-o", "yaml") == fast
    assert used == [getattr(yaml, "CSafeDumper", yaml.SafeDumper)]
    monkeypatch.delattr(yaml, "CSafeDumper", raising=False)
    assert yaml.safe_load(pool.out("list", "-o", "yaml")) == yaml.safe_load(fast)


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("実験", 4), ("e\u0301", 1), ("Ü", 1), ("\U0001f680", 2)])
def test_the_width_of_a_text_is_what_a_terminal_gives_it(text: str, width: int) -> None:
    """Two columns for what is wide, none for what combines."""
    assert width_of(text) == width
    assert any(unicodedata.east_asian_width(char) == "W" for char in text) == (width_of(text) > len(text))


def test_columns_stay_straight_beside_wide_characters() -> None:
    """As measured by the terminal."""
    lines = table(("ID", "WHO", "N"), [("a", "実験", "1"), ("b", "x", "2")]).split("\n")
    assert lines == ["ID  WHO   N", "a   実験  1", "b   x     2"]
    assert output.fields([("M", [("実", "1"), ("abc", "2")])]) == "M:\n  実   1\n  abc  2"


@pytest.mark.parametrize(
    ("resource", "amount", "down", "up"),
    [
        ("memory", ODD, "101.5Gi", "101.51Gi"),
        ("memory", 1536 * 2**20, "1536Mi", "1536Mi"),
        ("memory", 103_936 * 2**20, "101.5Gi", "101.5Gi"),
        ("memory", 2_000_000_000, "2G", "2G"),
        ("memory", 2**50 - 1, "1023.99Ti", "1024Ti"),
        ("memory", 12_345, "12.05Ki", "12.06Ki"),
        ("memory", 1_023, "1023", "1023"),
        ("memory", 0, "0", "0"),
        ("memory", -ODD, f"-{ODD}", f"-{ODD}"),
        ("cpu", 26_500, "26500m", "26500m"),
        ("nvidia.com/gpu", 1_234_567, "1234567m", "1234567m"),
    ],
)
def test_an_odd_amount_is_rounded_for_people(resource: str, amount: int, down: str, up: str) -> None:
    """What is available is rounded down, what is allocated up: nobody is promised more than there is."""
    assert (human(resource, amount), human(resource, amount, up=True)) == (down, up)


def test_one_odd_amount_does_not_turn_a_table_into_bytes(pool: CommandLine) -> None:
    """People read 101.5Gi; `-o wide` and JSON are exact."""
    pool("allocate", f"memory={ODD}", "--pin", "--id", "a")
    for words in (("usage",), ("list",), ("pool", "list"), ("pool", "show"), ("events",)):
        shown, exact = pool.out(*words), pool.out(*words, "-o", "wide")
        assert "101.51Gi" in shown, words
        assert str(ODD) not in shown, words
        assert str(ODD) in exact, words
        assert "101.51Gi" not in exact, words
    assert str(ODD) in pool.out("describe", "a")
    assert pool.json("usage")["resources"]["memory"]["allocated"] == {"quantity": str(ODD), "amount": ODD}


def test_a_terminal_that_is_too_narrow_for_a_table_gets_all_of_it_row_by_row(environment: dict[str, str]) -> None:
    """Sixty columns neither wrap nor cut."""
    shell(environment, "RA pool create narrow cpu=4 memory=8Gi nvidia.com/gpu=8")
    shell(
        environment,
        "RA allocate cpu=1 memory=1Gi nvidia.com/gpu=1 --ttl 1d --id namespace/laboratory-42 --owner ctl --pool narrow",
    )
    shown = in_terminal(environment, "list", "narrow")
    assert shown.startswith(
        "namespace/laboratory-42\n  OWNER ctl  STATUS Live  CPU 1  MEMORY 1Gi\n  NVIDIA.COM/GPU 1  AGE "
    )
    wide = shell(environment, "RA list narrow").stdout  # no terminal: a table, as ever
    assert wide.startswith("ID  ")
    for command in ("usage", "events", "pool list"):
        lines = in_terminal(environment, *command.split(), "--pool", "narrow").split("\n")
        assert max(len(line.replace("\x1b[32m", "").replace("\x1b[0m", "")) for line in lines) <= 60, lines
    assert "[|    ]  25%" in in_terminal(environment, "usage", "narrow")
    shell(environment, "RA pool delete narrow --yes --force")


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_dumb_terminal_gets_no_escape_codes(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    """Neither colours nor a cursor that moves."""
    shell(environment, "RA pool create dumb cpu=4")
    assert "\x1b" not in in_terminal({**environment, "TERM": term}, "usage", "dumb")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert watch.redraws(App())
    monkeypatch.setenv("TERM", term)
    assert not watch.redraws(App())
    shell(environment, "RA pool delete dumb --yes")


def test_bars_of_folded_tables_are_coloured_one_for_each_row() -> None:
    """By the rows, not by the lines."""
    rows = [("cpu", ResourceUsage(100, 10)), ("memory", ResourceUsage(100, 95))]
    text = usage._usage_table(rows, 5, False, headed=True, width=30)
    shown = usage._color(text, [row for _, row in rows])
    assert shown.count("\x1b[32m[") == shown.count("\x1b[31m[") == 1


@pytest.mark.parametrize("line", ["RA usage pipes --watch 0.1 -o json | head -1", "RA --help | head -1"])
def test_a_reader_that_goes_away_is_no_error(environment: dict[str, str], line: str) -> None:
    """No word; a shell with pipefail sees the code of SIGPIPE."""
    shell(environment, "RA pool create pipes cpu=1")
    done = shell(environment, line)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
    program = line.partition(" | ")[0].replace("RA", f"{sys.executable} -m allocator")
    reader, writer = os.pipe()
    os.close(reader)
    code = subprocess.run(
        program.split(), env=environment, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(writer)
    assert (code.returncode, code.stderr) == (141, b"")
    shell(environment, "RA pool delete pipes --yes")


def test_after_a_second_of_silence_a_line_says_what_is_waited_for(environment: dict[str, str]) -> None:
    """Once, without the password, and not with --quiet."""
    url = f"redis://me:canary@127.0.0.1:{free_port()}/0"
    done = shell(environment, f"RA usage --url {url} --timeout 3")
    first, error, _ = done.stderr.splitlines()
    assert first.startswith("waiting for redis://***@127.0.0.1:")
    assert first.endswith(", up to 3 s for each call (Ctrl-C ends it)")
    assert error.startswith("error: ")
    assert "waiting" not in shell(environment, f"RA usage --url {url} --timeout 3 -q").stderr


def test_ctrl_c_before_anything_was_sent_says_nothing(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning that something may stay would be false: the server refuses connections."""

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("allocator._engine.execution.driver.time.sleep", interrupt)
    url = f"redis://127.0.0.1:{free_port()}/0"
    assert cli.error("allocate", "cpu=1", "--pin", "--id", "a", "--url", url, code=130).strip() == ""


def test_a_file_of_stdin_may_have_a_mark_at_its_beginning(environment: dict[str, str], tmp_path: Path) -> None:
    """As editors of Windows write it."""
    shell(environment, "RA pool create mark cpu=1")
    (tmp_path / "ids").write_bytes("\ufeffa\r\nb\r\n".encode())
    done = shell(environment, f"RA reconcile - --owner me --as-of 1000000000000 --pool mark < {tmp_path}/ids")
    assert json.loads(done.stdout)["missing"] == ["a", "b"]
    shell(environment, "RA pool delete mark --yes")
