"""The program as a process, on real servers: what a script, cron and a terminal see."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proxy import FaultProxy
from tests.support.servers import Server, free_port
from tests.support.tools import needs
from tests.support.waiting import wait_until

PASSWORD = "canary-7c1e"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that wants a password."""
    with Server(tcp=True, options={"requirepass": PASSWORD}) as started:
        yield started


@pytest.fixture
def environment(server: Server) -> dict[str, str]:
    """A shell's, with the server in it and a pool of the test's own."""
    kept = {name: text for name, text in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH", "LANG")}
    return {**kept, "ALLOCATOR_REDIS_URL": server.tcp_url, "TERM": "xterm", "COLUMNS": "100", "LINES": "24"}


def program(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m allocator`, which is the program."""
    return subprocess.run(
        [sys.executable, "-m", "allocator", *words],
        env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def test_a_working_day(environment: dict[str, str]) -> None:
    """Every command once, in the order in which somebody would use them, each with its exit code."""
    pool = ("--pool", "day")
    story: list[tuple[int, tuple[str, ...]]] = [
        (4, ("usage",)),
        (0, ("pool", "create", "cpu=4", "memory=8Gi")),
        (0, ("pool", "list", "-o", "name")),
        (0, ("check", "cpu=4")),
        (0, ("allocate", "cpu=3", "--ttl", "10m", "--id", "lab-1")),
        (3, ("check", "cpu=2")),
        (3, ("allocate", "cpu=2", "--ttl", "10m")),
        (2, ("allocate", "cpu=two", "--ttl", "10m")),
        (0, ("list",)),
        (0, ("describe", "lab-1")),
        (0, ("renew", "lab-1", "--ttl", "1h")),
        (0, ("resize", "lab-1", "cpu=1")),
        (0, ("usage",)),
        (0, ("cleanup",)),
        (0, ("audit",)),
        (0, ("release", "lab-1")),
        (4, ("release", "lab-1")),
        (0, ("events",)),
        (0, ("redis-cli",)),
        (0, ("pool", "delete", "day", "--yes")),
    ]
    for code, words in story:
        done = program(environment, *words, *pool)
        assert done.returncode == code, (words, done)
        assert bool(done.stdout) == (code == 0 or words[0] == "check"), (words, done)
        assert PASSWORD not in done.stdout + done.stderr, words


def test_an_unreachable_server_is_exit_code_5_within_the_time_allowed(environment: dict[str, str]) -> None:
    """Down is never "full", and the message has no password in it, nor has the traceback."""
    url = f"redis://me:{PASSWORD}@127.0.0.1:{free_port()}/0"
    done = program(environment, "usage", "--url", url, "--timeout", "0.3", "--verbose")
    assert (done.returncode, done.stdout) == (5, "")
    assert "\nerror: " in done.stderr
    assert re.search(r"^hint: the server is redis://\*\*\*@127\.0\.0\.1:\d+/0; ", done.stderr, re.MULTILINE)
    assert PASSWORD not in done.stderr


def test_a_wrong_password_is_not_printed_either(environment: dict[str, str], server: Server) -> None:
    """Nor is it "not found"."""
    done = program(environment, "usage", "--url", server.tcp_url.replace(PASSWORD, f"{PASSWORD}-wrong"))
    assert (done.returncode, done.stdout) == (5, "")
    assert PASSWORD not in done.stderr


def test_a_lost_answer_is_exit_code_6(environment: dict[str, str], server: Server) -> None:
    """The server executed the call and its reply was lost: neither yes nor no would be true."""
    assert program(environment, "pool", "create", "lossy", "cpu=4").returncode == 0
    with FaultProxy(server.socket) as proxy:
        proxy.swallow(match=b"lost-1")
        url = f"redis://:{PASSWORD}@127.0.0.1:{proxy.port}/0"
        request = ("allocate", "cpu=1", "--ttl", "10m", "--id", "lost-1", "--pool", "lossy")
        done = program(environment, *request, "--url", url, "--timeout", "0.5")
    assert (done.returncode, done.stdout) == (6, "")
    assert "\nhint: the server may have executed it: 'describe lost-1' shows whether it was; " in done.stderr
    assert program(environment, *request).returncode == 0
    program(environment, "pool", "delete", "lossy", "--yes", "--force")


@needs("redis-cli")
def test_what_redis_cli_prints_can_be_run(environment: dict[str, str]) -> None:
    """By a shell, with the password put where it belongs."""
    program(environment, "pool", "create", "hand", "cpu=4")
    program(environment, "allocate", "cpu=1", "--pin", "--id", "a/b:c", "--pool", "hand")
    printed = program(environment, "redis-cli", "--pool", "hand").stdout
    assert printed.startswith("export REDISCLI_AUTH=PASSWORD\n")
    shell = subprocess.run(
        ["sh", "-e"],
        input=printed.replace("PASSWORD", PASSWORD),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (shell.returncode, shell.stderr) == (0, "")
    assert "cpu.capacity" in shell.stdout
    assert "a/b:c" in shell.stdout
    assert "NOAUTH" not in shell.stdout
    program(environment, "pool", "delete", "hand", "--yes", "--force")


def test_a_reader_that_goes_away_is_no_traceback(environment: dict[str, str]) -> None:
    """`resource-allocator events | head -1`."""
    program(environment, "pool", "create", "pipe", "cpu=4")
    piped = f"{sys.executable} -m allocator usage --watch 0.1 -o json --pool pipe | head -1"
    done = subprocess.run(["sh", "-c", piped], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout)["pool"] == "pipe"
    assert done.stderr == ""
    program(environment, "pool", "delete", "pipe", "--yes")


@pytest.mark.parametrize("words", [("pool", "list", "-q", "-o", "json"), ("completion", "bash"), ("--help",)])
def test_an_answer_that_cannot_be_written_is_an_error_and_no_bug(
    environment: dict[str, str], words: tuple[str, ...]
) -> None:
    """A full disk under a log: one line, 1, and nobody is asked to report it."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "allocator", *words],
            env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: cannot write: No space left on device\n")


def test_the_exit_code_survives_a_stderr_that_cannot_be_written(environment: dict[str, str]) -> None:
    """Scripts branch on it."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "allocator", "usage", "--pool", "none"],
            env=environment, stdout=subprocess.PIPE, stderr=full, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "")


class Terminal:
    """The program in a pseudo-terminal."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "allocator", *words],
            env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self.text = ""

    def read(self) -> str:
        """All that has been printed so far."""
        try:
            while piece := os.read(self._ours, 65_536):
                self.text += piece.decode()
        except OSError:  # nothing now, or the program has ended
            pass
        return self.text

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def close(self) -> None:
        """End it whatever it does."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminals(environment: dict[str, str]) -> Iterator[list[Terminal]]:
    """Those that a test opens are closed."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_a_terminal_is_redrawn_in_colour_until_ctrl_c(environment: dict[str, str], terminals: list[Terminal]) -> None:
    """And the exit code is 130."""
    program(environment, "pool", "create", "live", "cpu=4")
    terminal = Terminal(environment, "usage", "--watch", "0.1", "--pool", "live")
    terminals.append(terminal)
    wait_until(lambda: terminal.read().count("\x1b[H") >= 3, message="redrawn")
    os.kill(terminal.process.pid, signal.SIGINT)
    assert terminal.process.wait(timeout=60) == 130
    text = terminal.read()
    assert text.count("\x1b[2J") == 1  # cleared once, then drawn over: no flicker
    assert "every 0.1s  redis://***@127.0.0.1:" in text
    assert "\x1b[32m[" in text
    assert "Traceback" not in text
    assert PASSWORD not in text
    program(environment, "pool", "delete", "live", "--yes")


def test_no_color_is_honoured_at_a_terminal(environment: dict[str, str], terminals: list[Terminal]) -> None:
    """The same text without the colours."""
    program(environment, "pool", "create", "grey", "cpu=4")
    terminal = Terminal({**environment, "NO_COLOR": "1"}, "usage", "--pool", "grey")
    terminals.append(terminal)
    assert terminal.process.wait(timeout=60) == 0
    assert "[                    ]   0%" in terminal.read()
    assert "\x1b[" not in terminal.text
    program(environment, "pool", "delete", "grey", "--yes")


def test_a_terminal_is_asked_before_a_pool_is_deleted(environment: dict[str, str], terminals: list[Terminal]) -> None:
    """The answer goes on a real terminal."""
    program(environment, "pool", "create", "doomed", "cpu=4")
    terminal = Terminal(environment, "pool", "delete", "doomed")
    terminals.append(terminal)
    wait_until(lambda: "Delete pool doomed? [y/N]:" in terminal.read(), message="asked")
    terminal.type("y\n")
    assert terminal.process.wait(timeout=60) == 0
    assert "pool doomed deleted" in terminal.read()
