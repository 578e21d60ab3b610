"""Processes of `run` on a real server, with pipes or at a terminal; fixtures for the tests that import them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import secrets
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from allocator import Allocator
from tests.support.servers import Server
from tests.support.waiting import wait_until

TIMEOUT_S: Final = 30.0
"""Seconds for what takes a start of the interpreter on a busy machine."""

RUN: Final = (sys.executable, "-m", "allocator", "run")

WAITS: Final = "read -r line; exit $((40 + $?))"
"""A shell's wait for a line (exit code 40) or the end of stdin (41)."""

_PROBE: Final = """
import os, signal, sys
def caught(number, frame):
    # Not by print: a signal may arrive while the one before is being printed.
    os.write(1, b"caught %s\\n" % signal.Signals(number).name[3:].encode())
    if "exit" in sys.argv: sys.exit(0)
for name in sys.argv[1:]:
    if name != "exit": signal.signal(getattr(signal, "SIG" + name), caught)
print("ready", os.getpid(), flush=True)
sys.exit(40 if sys.stdin.readline() else 41)
"""


def probe(*names: str) -> tuple[str, ...]:
    """A command that prints each of these signals once it gets it, and waits as `WAITS` does; "exit": it then exits."""
    return (sys.executable, "-I", "-S", "-c", _PROBE, *names)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One for all of these tests."""
    with Server() as started:
        yield started


@pytest.fixture
def name() -> str:
    """The name of the test's pool."""
    return f"p{secrets.token_hex(4)}"


@pytest.fixture
def pool(server: Server, name: str) -> Iterator[Allocator]:
    """An onlooker of the pool, which has four CPUs; nothing is held in it at the end."""
    with Allocator.from_url(server.url, pool=name, owner="onlooker") as client:
        client.pools.create(name, {"cpu": 4, "memory": "4Gi"})
        yield client
        assert client.pools.usage().allocations == 0
        assert client.maintenance.audit()


@pytest.fixture
def environment(server: Server, pool: Allocator, name: str) -> dict[str, str]:
    """A shell's, with the server and the pool in it."""
    kept = {name: text for name, text in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH", "LANG")}
    return {**kept, "ALLOCATOR_REDIS_URL": server.url, "ALLOCATOR_POOL": name, "TERM": "dumb", "PS1": "$ "}


def _default_signals() -> None:
    """As a shell leaves them: whoever runs the tests may ignore some, as `nohup` and `&` do."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Start `run` in a session without a terminal; what is left is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str, program: tuple[str, ...] = RUN, **options: Any) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        own = {"env": environment, "start_new_session": True, "preexec_fn": _default_signals}
        process = subprocess.Popen([*program, *words], text=True, **{**own, **pipes, **options})
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of a process, whose stdin is closed now.

    What a busy machine makes it say, after a second without a connection, is left out.
    """
    out, err = process.communicate(timeout=TIMEOUT_S)
    said = "".join(one for one in err.splitlines(keepends=True) if not one.startswith("waiting for "))
    return process.returncode, out, said


def told(process: subprocess.Popen[str]) -> str:
    """The next line on stderr, but for what a busy machine makes it say."""
    assert process.stderr is not None
    return next(one for one in process.stderr if not one.startswith("waiting for "))


def line(process: subprocess.Popen[str]) -> str:
    """The next line that the command prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


class Terminal:
    """A program whose controlling terminal is a new pseudo-terminal."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            words, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one system call
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

    def wait_for(self, pattern: str, times: int = 1) -> str:
        """Wait until the pattern has been printed so often; its last group."""
        found = wait_until(
            lambda: found if len(found := re.findall(pattern, self.read())) >= times else None,
            timeout_s=TIMEOUT_S, message=pattern,
        )  # fmt: skip
        assert found is not None
        return str(found[-1])

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def echoes(self) -> bool:
        """Whether what is typed is shown: the terminal's ordinary mode."""
        return bool(termios.tcgetattr(self._ours)[3] & termios.ECHO)

    def close(self) -> None:
        """End it whatever it does."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def at(environment: dict[str, str]) -> Iterator[Callable[..., Terminal]]:
    """Open terminals; they are closed after the test."""
    opened: list[Terminal] = []

    def begin(*words: str) -> Terminal:
        opened.append(Terminal(environment, *words))
        return opened[-1]

    yield begin
    for terminal in opened:
        terminal.close()
