"""The whole demo: processes that are killed, numbers that add up, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from allocator import Allocator
from allocator.apps.demo.command import demo
from allocator.testing import PrivateServer
from tests.support.waiting import is_gone, wait_until

LABS = "name,cpu,memory,seconds\n" + "".join(f"course/lab{i:02},1,1Gi,{6 + i % 5}\n" for i in range(24))


@pytest.fixture
def requests_file(tmp_path: Path) -> Path:
    path = tmp_path / "labs.csv"
    path.write_text(LABS + "course/huge,9,1Gi,5\n", encoding="utf-8")
    return path


@pytest.fixture
def started(requests_file: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """The demo as a process of its own that would take a minute, and the processes that it has started."""
    command = [sys.executable, "-m", "allocator.apps.demo", "--requests", str(requests_file), "--replicas", "2"]
    process = subprocess.Popen(
        [*command, "--speed", "1", "--capacity", "cpu=4,memory=8Gi", "--ttl", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        said = ""
        while not re.search(r"provisioning [1-9]", said):
            line = lines.readline()
            assert line, said
            said += line
        found = re.search(r"processes ([0-9, ]+)", said)
        assert found
        pids = [int(pid) for pid in found[1].split(", ")]
        assert len(pids) == 2
        yield process, pids
    process.kill()
    process.wait()
    for pid in pids:
        assert is_gone(pid)


def test_the_killed_replicas_labs_are_run_by_others_and_the_numbers_add_up(requests_file: Path) -> None:
    """The main promise, on real processes: nothing is over-allocated, nothing leaks, nothing is lost."""
    options = ["--requests", str(requests_file), "--capacity", "cpu=6,memory=16Gi", "--replicas", "2", "--ttl", "1"]
    result = CliRunner().invoke(demo, [*options, "--speed", "15", "--failing", "0.1", "-o", "json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["ok"]
    assert found["problems"] == []
    assert found["completed"] + found["failed"] + found["never_fit"] == found["labs"] == 25
    assert found["never_fit"] == 1
    assert found["lost"] == found["leaks"] == found["over_allocations"] == 0
    assert found["killed"].startswith("replica-")
    assert found["killed_labs"] == found["killed_labs_taken_over"] > 0
    assert found["begun_again"] >= found["killed_labs"]
    assert found["reclaimed"] >= found["killed_labs"]
    assert found["granted"] == found["released"] + found["reclaimed"] + found["undone"] >= 24
    assert found["refusals"] > 0
    assert found["peak_utilization"]["cpu"] == 100.0
    assert found["audit"] == "clean"
    assert 0 < found["reclaimed_after_s"] <= found["taken_over_after_s"]
    assert "was killed" in result.stderr


def test_it_runs_on_a_given_server_and_leaves_nothing_there(requests_file: Path) -> None:
    """The pool is the demo's own, and the server is somebody else's."""
    with PrivateServer() as server:
        options = ["--requests", str(requests_file), "--capacity", "cpu=32,memory=64Gi", "--replicas", "1"]
        result = CliRunner().invoke(demo, [*options, "--speed", "60", "--url", server.url])
        assert result.exit_code == 0, result.output
        assert "none killed" in result.output
        assert re.search(r"verdict +every promise kept", result.output)
        with Allocator.from_url(server.url) as allocator:
            assert allocator.pools.list() == []


def test_ctrl_c_ends_all_that_was_started(started: tuple[subprocess.Popen[str], list[int]]) -> None:
    """In order: the replicas release, and the exit code is the one of an interrupted program."""
    process, pids = started
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert all(is_gone(pid) for pid in pids)


def test_no_process_outlives_a_demo_that_was_killed(started: tuple[subprocess.Popen[str], list[int]]) -> None:
    """Replicas end when their pipe does; the server ends with its guard."""
    process, pids = started
    process.kill()
    process.wait()
    wait_until(lambda: all(is_gone(pid) for pid in pids), message="the replicas end")


def test_labs_that_nobody_is_left_to_run_are_lost_and_that_is_no_success(
    started: tuple[subprocess.Popen[str], list[int]],
) -> None:
    """The verdict must be able to fail; what the dead replicas held still comes back."""
    process, pids = started
    assert process.stdout is not None
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    said = process.stdout.read()
    assert process.wait(60) == 1
    assert "no replica is left" in said
    assert "replica-1 ended by itself" in said
    assert re.search(r"24 labs never reached their end", said)
    assert re.search(r"leaks +0", said)
    assert re.search(r"audit +clean", said)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--capacity", "cpu"], "NAME=QUANTITY"),
        (["--capacity", "cpu=1,cpu=2"], "twice"),
        (["--capacity", "cpu=-1"], "cpu"),
        (["--url", "memory://"], "memory://"),
        (["--url", "nonsense://x"], "nonsense"),
        (["--replicas", "0"], "--replicas"),
        (["--requests", os.devnull + "x"], "does not exist"),
    ],
)
def test_wrong_options_are_named_before_anything_is_started(options: list[str], part: str) -> None:
    """With the exit code for wrong usage."""
    result = CliRunner().invoke(demo, options)
    assert result.exit_code == 2
    assert part in result.output


def test_a_server_that_is_not_there_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """5, as everywhere on the command line."""
    monkeypatch.setattr("allocator.apps.demo.run.CALL_S", 0.2)
    result = CliRunner().invoke(demo, ["--url", "unix:///nonexistent/server.sock"])
    assert result.exit_code == 5
    assert "error: " in result.output


def test_a_wrong_line_of_the_file_is_named(tmp_path: Path) -> None:
    """With its number, and before anything is started."""
    path = tmp_path / "labs.csv"
    path.write_text("name,cpu,seconds\na,one,5\n", encoding="utf-8")
    result = CliRunner().invoke(demo, ["--requests", str(path)])
    assert result.exit_code == 2
    assert "labs.csv, line 2: cpu" in result.output
