"""The private server: a server for one process without persistence, for the demo, tests and experiments."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import quote

from allocator._engine.servers.binary import ServerBinary, find_server
from allocator._engine.servers.process import (
    SHORT_PARENT,
    SOCKET_PATH_MAX,
    START_DEADLINE_S,
    GuardedProcess,
    Health,
    ask,
    last_line,
    poll,
    probe,
)
from allocator.errors import BackendUnavailable

__all__ = ["PrivateServer"]


class PrivateServer:
    """A server for one process, in a temporary folder, without persistence; it ends with the process, even if killed.

    It is a context manager; child processes may use its `url` as long as it is open.
    """

    def __init__(self, server: ServerBinary | None = None) -> None:
        """Choose the program: the given one, or the one that `find_server` finds; nothing is started."""
        self._server = server or find_server()
        self._process: GuardedProcess | None = None
        self.socket = ""

    @property
    def url(self) -> str:
        """The URL for clients, here and in child processes."""
        return f"unix://{quote(self.socket)}"

    @property
    def pid(self) -> int:
        """The server's process id, or 0 if it is not started."""
        return self._process.pid if self._process else 0

    def start(self) -> Self:
        """Start it and return when it replies.

        Raises:
            BackendUnavailable: It does not (`code="no_start"`).
        """
        folder = Path(tempfile.mkdtemp(prefix="allocator-"))
        if len(os.fsencode(folder / "server.sock")) > SOCKET_PATH_MAX:
            folder.rmdir()
            folder = Path(tempfile.mkdtemp(prefix="allocator-", dir=SHORT_PARENT))
        self.socket = str(folder / "server.sock")
        log = folder / "server.log"
        settings = {
            "port": "0",
            "unixsocket": self.socket,
            "unixsocketperm": "600",
            "dir": str(folder),
            "appendonly": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        process = GuardedProcess(self._server.command_line(settings), output=log, remove=folder)
        poll(lambda: not process.running or probe(self.socket) is Health.READY, deadline_s=START_DEADLINE_S)
        if not process.running or probe(self.socket) is not Health.READY:
            reason = last_line(log)
            process.kill()
            shutil.rmtree(folder, ignore_errors=True)
            raise BackendUnavailable(f"the private server did not start: {reason}", code="no_start")
        self._process = process
        return self

    def flush(self) -> None:
        """Delete all data.

        Raises:
            BackendUnavailable: It does not reply, as it has ended (`code="unavailable"`).
        """
        try:
            ask(self.socket, "FLUSHALL")
        except OSError as error:
            raise BackendUnavailable(f"the private server does not reply: {error}") from error

    def close(self) -> None:
        """Kill it and remove its folder.  Repeating is harmless."""
        if self._process is not None:
            self._process.kill()
            self._process = None
            shutil.rmtree(Path(self.socket).parent, ignore_errors=True)  # needed if the server had ended by itself

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()
