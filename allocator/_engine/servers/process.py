"""Processes of a Redis server, and the few commands that are sent to them before a client can be made.

No Redis client is imported here.  Two ways to start a process, both through `/bin/sh` and without `preexec_fn`, so that
they are safe in a program with threads and the same on Linux and macOS:

- `start_detached`: the process outlives this one, becomes a child of init (no zombie is left to reap), and keeps the
  given file descriptors open: a lock on such a file is held as long as that process lives, whatever kills it.
- `GuardedProcess`: the process never outlives this one.  Its guard, a shell, reads a pipe whose other end only this
  process holds.  When this process ends, even by SIGKILL, the kernel closes that end, and the guard kills the server.
  (PR_SET_PDEATHSIG would do the same on Linux only, and fires when the *thread* that started the process ends.)
"""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import IO, Final, Self, TypeAlias

__all__ = [
    "SHORT_PARENT",
    "SOCKET_PATH_MAX",
    "START_DEADLINE_S",
    "Address",
    "GuardedProcess",
    "Health",
    "ServerReplyError",
    "ask",
    "last_line",
    "poll",
    "probe",
    "start_detached",
]

POLL_S: Final = 0.003
"""Seconds between two polls of a server that is starting or stopping: a start takes 10 to 40 ms."""

ASK_TIMEOUT_S: Final = 0.5
"""Seconds to wait for the reply to a command; a local server replies in under a millisecond."""

KILL_DEADLINE_S: Final = 5.0
"""Seconds that the guard may take to kill its server and end."""

START_DEADLINE_S: Final = 10.0
"""Seconds that a server may take to reply or to begin loading; it takes 10 to 40 ms on an idle machine."""

SOCKET_PATH_MAX: Final = 103
"""Bytes of the path of a unix socket: `sun_path` is 104 on macOS (108 on Linux), with a zero at the end."""

SHORT_PARENT: Final = Path("/tmp")  # noqa: S108 - the folder in it is checked to be accessible to the user only
"""The folder for sockets whose path would be too long.  Not $TMPDIR: all processes of a user must use the same one."""

Address: TypeAlias = str | tuple[str, int]
"""The path of a unix socket, or host and port."""


class ServerReplyError(Exception):
    """The server sent an error reply; the text begins with its code."""


class Health(enum.Enum):
    """How a server replies to a PING."""

    READY = "ready"
    LOADING = "loading its data"
    SILENT = "not answering"
    ABSENT = "not listening"


def ask(address: Address, *words: str, timeout_s: float = ASK_TIMEOUT_S) -> str:
    """Send one command on a new connection and return the reply's text.

    Args:
        address: The address at which the server listens.
        words: The command and its arguments.
        timeout_s: Seconds to wait for the connection and for each part of the reply.

    Raises:
        ServerReplyError: The reply is an error.
        OSError: No server listens, or the connection ended before the reply (as it does after SHUTDOWN).
    """
    parts = [word.encode() for word in words]
    payload = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(address)
        connection.sendall(payload)
        with connection.makefile("rb") as stream:
            return _read_reply(stream)


def _read_reply(stream: IO[bytes]) -> str:
    """Read a simple string, a number, an error or a bulk string: the types of reply to the commands sent here."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server closed the connection before it replied")
    kind, text = line[:1], line[1:-2].decode(errors="replace")
    if kind == b"-":
        raise ServerReplyError(text)
    if kind == b"$" and text != "-1":
        length = int(text)
        body = stream.read(length + 2)
        if len(body) < length + 2:
            raise ConnectionResetError("the server closed the connection within a reply")
        return body[:length].decode(errors="replace")
    return text


def probe(address: Address, *, timeout_s: float = ASK_TIMEOUT_S) -> Health:
    """How the server replies to a PING.  Any reply but LOADING counts as ready, also NOAUTH."""
    try:
        ask(address, "PING", timeout_s=timeout_s)
    except ServerReplyError as error:
        return Health.LOADING if str(error).startswith("LOADING") else Health.READY
    except (TimeoutError, BlockingIOError):  # the latter: the socket's queue of connections is full
        return Health.SILENT
    except OSError:
        return Health.ABSENT
    return Health.READY


def poll(condition: Callable[[], bool], *, deadline_s: float) -> bool:
    """Check every few milliseconds until the condition holds; False if it does not within `deadline_s` seconds."""
    ends = time.monotonic() + deadline_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() >= ends:
            return False
        pause.wait(POLL_S)
    return True


def last_line(log: Path) -> str:
    """The last line of a log, or a text that there is none."""
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"{log} is empty"
    return f"{log} cannot be read"


@contextlib.contextmanager
def _nothing_blocked() -> Generator[None]:
    """Block no signal in this thread: a server would inherit that, and could not be ended by SIGTERM."""
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# $0 is the file for the server's output, the rest is its command line.
_DETACH: Final = '"$@" </dev/null >>"$0" 2>&1 &'


def start_detached(argv: Sequence[str], *, output: Path, keep_open: Sequence[int]) -> None:
    """Start a process that outlives this one, in a new session (Ctrl-C does not reach it).

    Args:
        argv: The command line.
        output: A file to which its output is appended.
        keep_open: File descriptors that it inherits.

    Raises:
        OSError: There is no shell, or it cannot be started.
    """
    with _nothing_blocked():
        shell = subprocess.Popen(
            ["/bin/sh", "-c", _DETACH, str(output), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=tuple(keep_open),
            start_new_session=True,
        )
    shell.wait()


# $0 is the file for the server's output, $1 a folder to remove or nothing, the rest is the server's command line.
# One branch waits for the server, the other for the end of the pipe on stdin: whichever comes first ends both.
# 137 is the exit code after SIGKILL; the folder of a server that ended by itself is kept, as its log is still read.
_GUARD: Final = """
folder=$1; shift
exec 3<&0
"$@" </dev/null >>"$0" 2>&1 3<&- &
server=$!
echo "$server"
exec >/dev/null
{ read -r _; kill -KILL "$server"; } <&3 &
reader=$!
exec 3<&-
wait "$server"
code=$?
kill "$reader"
[ "$code" -ne 137 ] || [ -z "$folder" ] || rm -rf -- "$folder"
exit "$code"
"""


class GuardedProcess:
    """A server process that ends on `kill`, when this process exits, and when this process is killed.

    Any thread may start it.  Forked children of this process do not keep it alive.
    """

    def __init__(self, argv: Sequence[str], *, output: Path, remove: Path | None = None) -> None:
        """Start it.

        Args:
            argv: The command line.
            output: A file to which its output is appended.
            remove: A folder that the guard deletes once the server is killed, also if this process has ended.

        Raises:
            OSError: It cannot be started.
        """
        theirs, self._lifeline = os.pipe()
        try:
            with _nothing_blocked():
                self._guard = subprocess.Popen(
                    ["/bin/sh", "-c", _GUARD, str(output), str(remove or ""), *argv],
                    stdin=theirs,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(theirs)
        _guarded.add(self)
        assert self._guard.stdout is not None
        with self._guard.stdout as stream:
            self.pid = int(stream.readline())

    @property
    def running(self) -> bool:
        """Whether the server process exists (a stopped one does, a zombie does not)."""
        return self._guard.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server, if it still exists."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, deadline_s: float) -> bool:
        """Wait until it has ended by itself; False if it has not within `deadline_s` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(deadline_s)
        return not self.running

    def kill(self) -> None:
        """Kill it at once (SIGKILL) and wait until it has ended.  It may be called again."""
        self.let_go()
        self._guard.wait(KILL_DEADLINE_S)

    def let_go(self) -> None:
        """Close this process's end of the pipe; when every copy of it is closed, the guard kills the server."""
        lifeline, self._lifeline = self._lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()


_guarded: weakref.WeakSet[GuardedProcess] = weakref.WeakSet()


def _let_go_after_fork() -> None:
    """Close the copies of the pipes in a forked child, or the servers would live as long as the child."""
    for process in list(_guarded):
        process.let_go()


os.register_at_fork(after_in_child=_let_go_after_fork)
