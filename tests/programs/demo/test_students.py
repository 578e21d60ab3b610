"""The whole class: students who wait in line, teams that borrow, numbers that add up, nothing left behind."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from allocator import Allocator
from allocator.apps.demo.command import demo
from allocator.testing import PrivateServer

SMALL = ["--students", "--class-size", "12", "--seconds", "3"]


def test_a_class_keeps_every_promise() -> None:
    """The main promise, on a real server: quotas hold, the line is served, guarantees are there."""
    result = CliRunner().invoke(demo, [*SMALL, "-o", "json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["ok"]
    assert found["problems"] == []
    assert found["students"] == 12
    assert found["asked"] == found["granted"] + found["gave_up"] > 12
    assert 0 < found["from_line"] < found["granted"]
    assert 0 < found["wait_p50_s"] <= found["wait_p95_s"] <= found["wait_longest_s"]
    assert found["events_granted"] == found["events_released"] + found["events_other_ends"]
    assert found["events_granted"] >= found["granted"]
    assert found["longest_line"] > 0
    assert found["late_teams"] == found["late_teams_at_once"] == 3
    assert found["borrowed_peak_cpus"] > 0
    assert found["priority_wait_s"] >= 0
    assert found["leaks"] == found["waiting"] == 0
    assert found["audit"] == "clean"
    assert found["readings"] > 0
    assert found["told_sums"] == found["granted"]
    assert len(found["promises"]) == 7
    assert all(promise["problem"] == "" for promise in found["promises"])
    assert "team-6 arrives, gets its guaranteed lab at once" in result.stderr
    assert "priority 100" in result.stderr


def test_it_runs_on_a_given_server_without_the_priority_lab_and_leaves_nothing_there() -> None:
    """The pool is the demo's own, and the server is somebody else's."""
    with PrivateServer() as server:
        options = ["--students", "--class-size", "6", "--seconds", "2", "--no-priority-lab", "--url", server.url]
        result = CliRunner().invoke(demo, options)
        assert result.exit_code == 0, result.output
        assert re.search(r"verdict +every promise kept", result.output)
        assert "instructor" not in result.output
        with Allocator.from_url(server.url) as allocator:
            assert allocator.pools.list() == []


def test_ctrl_c_empties_the_line_and_deletes_the_pool(tmp_path: Path) -> None:
    """In the middle of a long run, with students in line and at work."""
    with PrivateServer() as server, (tmp_path / "said").open("w+", encoding="utf-8") as said:
        command = [sys.executable, "-m", "allocator.apps.demo", "--students", "--seconds", "60", "--url", server.url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if re.search(r"running [1-9].* waiting [1-9]", line):
                    break
            process.send_signal(signal.SIGINT)
            rest = lines.read()
        assert process.wait(60) == 130, rest
        said.seek(0)
        assert said.read() == "Interrupted\n"
        with Allocator.from_url(server.url) as allocator:
            assert allocator.pools.list() == []


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--students", "--replicas", "3"], "--replicas has no effect with --students"),
        (["--students", "--no-kill"], "--kill has no effect with --students"),
        (["--students", "--capacity", "cpu=4"], "--capacity has no effect with --students"),
        (["--class-size", "12"], "--class-size has no effect without --students"),
        (["--seconds", "12"], "--seconds has no effect without --students"),
        (["--no-priority-lab"], "--priority-lab has no effect without --students"),
        (["--students", "--class-size", "5"], "--class-size"),
        (["--students", "--seconds", "nan"], "--seconds"),
        (["--students", "--url", "memory://"], "memory://"),
        (["--students", "--url", "nonsense://x"], "nonsense"),
    ],
)
def test_wrong_options_are_named_before_anything_is_started(options: list[str], part: str) -> None:
    """An option that would have no effect is not ignored."""
    result = CliRunner().invoke(demo, options)
    assert result.exit_code == 2
    assert part in result.output


def test_a_server_that_is_not_there_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """5, as everywhere on the command line."""
    monkeypatch.setattr("allocator.apps.demo.run.CALL_S", 0.2)
    result = CliRunner().invoke(demo, ["--students", "--url", "unix:///nonexistent/server.sock"])
    assert result.exit_code == 5
    assert "error: " in result.output
