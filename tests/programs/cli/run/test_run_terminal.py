"""`run` at a terminal: what is typed, jobs of a shell, and the terminal afterwards."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable

from allocator import Allocator
from tests.programs.cli.run.conftest import RUN, TIMEOUT_S, Terminal, probe
from tests.support.waiting import is_gone, process_state, wait_until


def test_ctrl_c_and_a_signal_each_reach_the_command_once(at: Callable[..., Terminal]) -> None:
    """The terminal sends Ctrl-C to both processes; what is sent to `run` alone is passed on."""
    terminal = at(*RUN, "cpu=1", "--", *probe("INT", "TERM"))
    terminal.wait_for("ready")
    terminal.type("\x03")
    terminal.wait_for("caught INT\r")
    terminal.process.send_signal(signal.SIGTERM)
    terminal.wait_for("caught TERM\r")
    assert terminal.text.count("caught INT") == 1
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("caught INT\r", 2)
    terminal.type("\r")
    assert terminal.process.wait(TIMEOUT_S) == 40
    assert terminal.read().count("caught INT") == 2


def test_ctrl_c_ends_a_command_that_does_not_handle_it(at: Callable[..., Terminal], pool: Allocator) -> None:
    """With 130, once it has ended, and after the release."""
    terminal = at(*RUN, "cpu=1", "--ttl", "1h", "--", "sh", "-c", "echo go; read x")
    terminal.wait_for("go\r")
    terminal.type("\x03")
    assert terminal.process.wait(TIMEOUT_S) == 130
    assert pool.pools.usage().allocations == 0
    assert "Traceback" not in terminal.read()


def test_ctrl_z_and_fg_in_a_shell_with_jobs(at: Callable[..., Terminal]) -> None:
    """Both stop, the shell goes on, and `fg` continues both, with the terminal."""
    terminal = at("sh", "-i")
    terminal.type(f"{shlex.join([*RUN, 'cpu=1', '--', 'sh', '-c', 'echo pid=$$; read x; echo got=$x; exit 6'])}\r")
    pid = int(terminal.wait_for(r"pid=(\d+)\r"))
    terminal.type("\x1a")
    terminal.wait_for("Stopped|Suspended")
    assert process_state(pid) == "T"
    terminal.type("echo here=$((1+1))\r")
    terminal.wait_for("here=2")
    terminal.type("fg\r")
    wait_until(lambda: process_state(pid) != "T")
    terminal.type("hello\r")
    terminal.wait_for("got=hello")
    terminal.type("echo code=$?\r")
    assert terminal.wait_for(r"code=(\d+)\r") == "6"


def test_an_interactive_shell_runs_in_it_with_jobs_of_its_own(at: Callable[..., Terminal], pool: Allocator) -> None:
    """It takes the foreground; Ctrl-C is for its commands; afterwards `run` ends with its code."""
    terminal = at(*RUN, "cpu=1", "--id", "shell", "--", "sh", "-i")
    terminal.type("echo id=$ALLOCATOR_ID\r")
    assert terminal.wait_for(r"id=(\w+)\r") == "shell"
    terminal.type("sh -c 'echo pid=$$; exec sleep 1000'\r")
    pid = int(terminal.wait_for(r"pid=(\d+)\r"))
    terminal.type("\x1a")
    wait_until(lambda: process_state(pid) == "T")
    terminal.type("fg\r")
    wait_until(lambda: process_state(pid) != "T")
    terminal.type("\x03")
    wait_until(lambda: is_gone(pid))
    terminal.type("exit 5\r")
    assert terminal.process.wait(TIMEOUT_S) == 5
    assert pool.get("shell") is None


def test_a_terminal_is_set_back_when_the_command_is_killed(at: Callable[..., Terminal], pool: Allocator) -> None:
    """An interactive shell ignores TERM; the next one has the foreground and sees what it types."""
    inner = shlex.join([*RUN, "cpu=1", "--id", "job", "--ttl", "3s", "--", "sh", "-ic", "stty -echo; echo go; read x"])
    terminal = at("sh", "-c", f"{inner}; echo code=$?; read line; echo got=$line")
    terminal.wait_for("go\r")
    assert not terminal.echoes()
    pool.release("job")
    assert terminal.wait_for(r"code=(\d+)\r") == "121"
    assert terminal.echoes()
    terminal.type("hello\r")
    terminal.wait_for("got=hello")
