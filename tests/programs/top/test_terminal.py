"""`top` as a program under a pseudo-terminal: sizes, signals, what it refuses, and the terminal it leaves behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from allocator import Allocator
from tests.support.servers import Server

PROGRAM: Final = (sys.executable, "-m", "allocator", "top")

pytestmark = pytest.mark.slow


class Terminal:
    """A terminal with a program on it."""

    def __init__(self, *words: str, rows: int = 24, columns: int = 80, program: tuple[str, ...] = PROGRAM) -> None:
        self.outer, self._inner = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self._inner)
        self.seen = ""
        # What another program has noted of its terminal would count for more than the size of this one.
        own = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [*program, *words],
            stdin=self._inner,
            stdout=self._inner,
            stderr=self._inner,
            start_new_session=True,
            env={**own, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self.outer, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if hasattr(self, "process"):
            self.process.send_signal(signal.SIGWINCH)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.outer, keys.encode())

    def until(self, said: str, timeout_s: float = 60.0) -> None:
        """Read until the program has written this."""
        ends = time.monotonic() + timeout_s
        while said not in self.seen:
            assert time.monotonic() < ends, f"{said!r} is not in {self.seen[-3000:]!r}"
            self._read()

    def forget(self) -> None:
        """Look only at what comes now."""
        self.seen = ""

    def ended(self, timeout_s: float = 60.0) -> int:
        """The exit code; the terminal must be as it was."""
        ends = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < ends, self.seen[-3000:]
            self._read()
        while self._read():
            pass
        assert termios.tcgetattr(self._inner)[:4] == self.before[:4], "the terminal's mode is restored"
        return self.process.returncode

    def _read(self) -> bool:
        if not select.select([self.outer], [], [], 0.1)[0]:
            return False
        self.seen += os.read(self.outer, 65_536).decode(errors="replace")
        return True

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.outer)
        os.close(self._inner)


@contextlib.contextmanager
def terminal(*words: str, **more: Any) -> Iterator[Terminal]:
    """A program on a terminal."""
    made = Terminal(*words, **more)
    try:
        yield made
    finally:
        made.close()


def assert_restored(text: str) -> None:
    """The other screen is left, the cursor is shown, and the mouse is no longer reported."""
    for sequence in ("\x1b[?1049l", "\x1b[?25h", "\x1b[?1000l"):
        assert sequence in text, sequence


@pytest.fixture
def url(one_server: Server) -> str:
    """A server with a pool."""
    with Allocator.from_url(one_server.url, pool="lab") as client:
        client.pools.create("lab", {"cpu": 32})
        client.allocate({"cpu": 3}, ttl=600, id="job-1")
    return one_server.url


def test_it_draws_follows_a_resize_and_quits(url: str) -> None:
    """`q` is exit code 0, and the terminal is as before."""
    with terminal("lab", "--url", url) as screen:
        screen.until("job-1")
        screen.type("4")
        screen.until("granted")
        screen.type("1")
        screen.resize(40, 120)
        screen.until("latest events")
        screen.resize(10, 40)
        screen.forget()
        screen.resize(24, 80)
        screen.until("job-1")
        screen.type("q")
        assert screen.ended() == 0
        assert_restored(screen.seen)


@pytest.mark.parametrize(
    ("how", "code"), [("\x03", 130), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_ctrl_c_and_signals_restore_the_terminal(url: str, how: str | signal.Signals, code: int) -> None:
    """With the usual exit codes."""
    with terminal("lab", "--url", url) as screen:
        screen.until("job-1")
        if isinstance(how, str):
            screen.type(how)
        else:
            screen.process.send_signal(how)
        assert screen.ended() == code
        assert_restored(screen.seen)


def test_a_crash_restores_the_terminal(url: str) -> None:
    """A bug is a traceback after the screen, and exit code 1."""
    program = (
        "import sys; from allocator.apps.top.feed import Feed; from allocator.apps.cli.main import main\n"
        "def broken(self): raise ZeroDivisionError('planted')\n"
        "Feed._pause_s = broken; main()"
    )
    with terminal("top", "lab", "--url", url, program=(sys.executable, "-c", program)) as screen:
        assert screen.ended() == 1
        assert_restored(screen.seen)
        assert "planted" in screen.seen.rpartition("\x1b[?1049l")[2]


def test_a_server_that_restarts_while_it_runs_is_waited_for() -> None:
    """It says so, and goes on by itself."""
    with Server(tcp=True) as server:
        with Allocator.from_url(server.url, pool="lab") as client:
            client.pools.create("lab", {"cpu": 32})
        with terminal("lab", "--url", server.url, "--timeout", "1") as screen:
            screen.until("nothing is allocated")
            server.kill()
            screen.until("AWAY")
            server.start()
            with Allocator.from_url(server.url, pool="lab") as client:
                client.pools.create("lab", {"cpu": 32})
                client.allocate({"cpu": 3}, ttl=600, id="job-9")
            screen.until("job-9")
            screen.type("q")
            assert screen.ended() == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nowhere",), 4, "error: there is no pool 'nowhere'"),
        (("no pool",), 2, "error: "),
        (("lab", "-o", "json"), 2, "error: top draws on a terminal and has no -o json"),
        (("lab", "--url", "redis://127.0.0.1:1", "--timeout", "0.5"), 5, "error: "),
    ],
)
def test_what_cannot_be_shown_is_refused_before_the_screen(
    url: str, words: tuple[str, ...], code: int, said: str
) -> None:
    """With the exit codes of other commands, and nothing drawn."""
    with terminal("--url", url, *words) as screen:
        assert screen.ended() == code
        assert said in screen.seen
        assert "\x1b[?1049h" not in screen.seen


def test_without_a_terminal_it_says_what_to_use(url: str) -> None:
    """A pipe, or a terminal that takes no escape codes."""
    ended = subprocess.run(
        [*PROGRAM, "lab", "--url", url],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: top draws on a terminal, and this is none\n"
        "hint: 'usage --watch' prints, and 'usage -o json' is for programs\n"
    )


def test_without_the_package_one_line_says_what_to_install() -> None:
    """The other commands work without it."""
    program = (
        "import sys; sys.modules['textual'] = None; sys.argv[1:] = ['top']\n"
        "from allocator.apps.cli.main import main\nmain()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == (
        "error: resource-allocator needs the package textual: pip install 'redis-resource-allocator[tui]'\n"
    )
    assert ended.returncode == 1
