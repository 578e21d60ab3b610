"""`embedded://`: one real server per user and machine, started on demand, shared by all of the user's processes.

How exactly one server runs: each engine and major version has a folder with the data, the socket and a lock file.  A
process that finds no server at the socket tries the lock without waiting.  If it gets the lock, it starts the server,
which inherits the locked file: from then on the *server* holds the lock, until the kernel releases it when the server
ends for any reason.  If not, it checks the socket again.  So no two servers ever write to the same data.  The socket
of a killed server has no effect.  The lock shows the end of a server, not a process id that may be reused.

The data are in an append-only file, so they survive the server, except for the last two seconds on a slow disk.  Only
the user can open the unix socket.

`PrivateServer`, of the module `private`, is the other kind: it belongs to one process and ends with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import logging
import os
import re
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Final

from allocator._engine.servers.binary import EngineName, ServerBinary, find_server
from allocator._engine.servers.private import PrivateServer
from allocator._engine.servers.process import (
    SHORT_PARENT,
    SOCKET_PATH_MAX,
    START_DEADLINE_S,
    Health,
    ServerReplyError,
    ask,
    last_line,
    poll,
    probe,
    start_detached,
)
from allocator.errors import BackendUnavailable

__all__ = ["EmbeddedStatus", "PrivateServer", "ServerBinary", "ensure_running", "find_server", "home", "status", "stop"]

logger = logging.getLogger(__name__)

SWITCH_VARIABLE: Final = "ALLOCATOR_EMBEDDED"
"""`0` forbids starting or using the embedded server, for machines where a missing URL must be an error."""

FOLDER_VARIABLE: Final = "ALLOCATOR_EMBEDDED_DIR"
"""The folder of the embedded servers, in place of the user's state folder."""

FOLDER_NAME: Final = "redis-resource-allocator"

LOAD_DEADLINE_S: Final = 60.0
"""Further seconds that it may take to load its data: several gigabytes."""

STOP_DEADLINE_S: Final = 10.0
"""Seconds that it may take to end, as it writes pending data to the disk."""


@dataclasses.dataclass(frozen=True, slots=True)
class EmbeddedStatus:
    """The present state of the embedded server; fields that need a running server are None otherwise."""

    running: bool
    engine: EngineName
    version: str
    pid: int | None
    socket: str
    folder: Path
    uptime_s: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """The folder and socket of one server."""

    folder: Path
    socket: str

    @property
    def lock(self) -> Path:
        return self.folder / "server.lock"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


# -- the folder --------------------------------------------------------------------------------------------------------


def home() -> Path:
    """The folder of the user's embedded servers, created at the first use, accessible to the user only.

    It is `$ALLOCATOR_EMBEDDED_DIR`, else `redis-resource-allocator` in `$XDG_STATE_HOME` or `~/.local/state`.

    Raises:
        BackendUnavailable: It cannot be created (`code="no_folder"`), or other users could change its content
            (`"unsafe_folder"`): they could place a socket there and impersonate the server.
    """
    named = os.environ.get(FOLDER_VARIABLE, "").strip()
    state = os.environ.get("XDG_STATE_HOME", "").strip()
    try:
        if named:
            path = Path(named).expanduser()
        elif state.startswith("/"):
            path = Path(state) / FOLDER_NAME
        else:
            path = Path.home() / ".local" / "state" / FOLDER_NAME
        return _own_folder(path.resolve())
    except RuntimeError as error:
        raise BackendUnavailable(
            f"no home folder for embedded://; name one in ${FOLDER_VARIABLE}", code="no_folder"
        ) from error


def _own_folder(path: Path, *, private: bool = False) -> Path:
    """Create the folder, or check that the user owns it; a `private` one is made inaccessible to others."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if private and found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode) and found.st_mode & 0o077:
            path.chmod(0o700)
            found = path.lstat()
    except OSError as error:
        raise BackendUnavailable(f"cannot use the folder {path}: {error.strerror}", code="no_folder") from error
    if not stat.S_ISDIR(found.st_mode):
        raise BackendUnavailable(f"{path} is not a folder", code="unsafe_folder")
    if found.st_uid != os.geteuid():
        raise BackendUnavailable(
            f"the folder {path} belongs to another user (uid {found.st_uid}); name one in ${FOLDER_VARIABLE}",
            code="unsafe_folder",
        )
    if found.st_mode & 0o022:
        raise BackendUnavailable(
            f"other users may write to the folder {path}: chmod 700 it or name another in ${FOLDER_VARIABLE}",
            code="unsafe_folder",
        )
    return path


def _place(folder: Path) -> _Place:
    """The socket of this folder's server: in the folder, unless the path would be too long for a socket."""
    path = str(_own_folder(folder, private=True) / "server.sock")
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
        short = _own_folder(SHORT_PARENT / f"allocator-{os.geteuid()}-{digest}", private=True)
        path = str(short / "server.sock")
    return _Place(folder, path)


def _place_of(server: ServerBinary) -> _Place:
    return _place(home() / f"{server.engine}-{server.major}")


# -- the shared server -------------------------------------------------------------------------------------------------


def ensure_running() -> str:
    """Start the user's server if it is not running, and return the path of its socket.

    It costs one PING (well under a millisecond) if the server is running.  Any number of processes and threads may call
    this at once: one server is started, and all return when it replies and has loaded its data.

    Raises:
        BackendUnavailable: It is switched off (`code="embedded_off"`), there is no program (`"no_server"`), the folder
            is unfit, or it does not start or reply in time (`"no_start"`).
    """
    if os.environ.get(SWITCH_VARIABLE, "").strip() == "0":
        raise BackendUnavailable(
            f"embedded:// is switched off by ${SWITCH_VARIABLE}=0; set $ALLOCATOR_REDIS_URL", code="embedded_off"
        )
    server = find_server()
    place = _running_place(server)
    if probe(place.socket) is not Health.READY:
        _Starter(server, place).run()
    return place.socket


class _Starter:
    """Starts one server; any number of processes may run this at once."""

    def __init__(self, server: ServerBinary, place: _Place) -> None:
        self._server = server
        self._place = place
        self._health = Health.ABSENT
        self._launched = False

    def run(self) -> None:
        """Return once the server replies, whichever process started it."""
        if poll(self._step, deadline_s=START_DEADLINE_S):
            return
        if self._health is Health.LOADING and poll(self._step, deadline_s=LOAD_DEADLINE_S):
            return
        raise BackendUnavailable(
            f"the embedded server in {self._place.folder} is there (it holds {self._place.lock.name}) but is"
            f" {self._health.value} at {self._place.socket}; its log is {self._place.log}",
            code="no_start",
        )

    def _step(self) -> bool:
        """Check whether it replies; launch it if no process holds the lock."""
        self._health = probe(self._place.socket)
        if self._health is Health.READY:
            return True
        with _try_lock(self._place.lock) as descriptor:
            if descriptor is not None:
                if self._launched:
                    raise BackendUnavailable(
                        f"the embedded server ended while it started: {last_line(self._place.log)}", code="no_start"
                    )
                self._launch(descriptor)
        return False

    def _launch(self, lock: int) -> None:
        """Start the server; from here on it holds the lock."""
        logger.info("starting the embedded server %s %s", self._server.engine, self._server.version)
        settings = {
            "port": "0",
            "unixsocket": self._place.socket,
            "unixsocketperm": "600",
            "dir": str(self._place.folder),
            "logfile": str(self._place.log),
            "loglevel": "warning",  # so that the log does not grow with use
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        try:
            start_detached(self._server.command_line(settings), output=self._place.log, keep_open=[lock])
        except OSError as error:
            raise BackendUnavailable(f"cannot start the embedded server: {error}", code="no_start") from error
        self._launched = True


@contextlib.contextmanager
def _try_lock(path: Path) -> Generator[int | None]:
    """Lock the file for the block and yield its descriptor, or None if another process, such as the server, holds it.

    The lock belongs to the open file, not to this process: a process that inherited the descriptor keeps it after the
    block.
    """
    descriptor = -1
    try:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            locked = None
        except OSError as error:
            raise BackendUnavailable(f"cannot lock {path}: {error.strerror}", code="no_folder") from error
        else:
            locked = descriptor
        yield locked
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _running_place(server: ServerBinary) -> _Place:
    """The location of the user's server: this engine's, or another engine's or major version's that already runs.

    So a process that finds another binary on its path uses the same data.
    """
    place = _place_of(server)
    if probe(place.socket) is not Health.ABSENT:
        return place
    for folder in sorted(place.folder.parent.iterdir()):
        if folder != place.folder and re.fullmatch(r"(valkey|redis)-\d+", folder.name) and folder.is_dir():
            with contextlib.suppress(BackendUnavailable):
                other = _place(folder)
                if probe(other.socket) is not Health.ABSENT:
                    logger.info("using %s, which is running already", folder.name)
                    return other
    return place


def status() -> EmbeddedStatus:
    """The status of the user's server; nothing is started.

    Raises:
        BackendUnavailable: There is no program, or the folder is unfit.
    """
    server = find_server()
    place = _running_place(server)
    running = probe(place.socket) is not Health.ABSENT
    fields: dict[str, str] = {}
    if running:
        with contextlib.suppress(OSError, ServerReplyError):
            lines = (line.partition(":") for line in ask(place.socket, "INFO", "server").splitlines())
            fields = {name: value for name, _, value in lines}
    return EmbeddedStatus(
        running=running,
        engine="valkey" if place.folder.name.startswith("valkey") else "redis",
        version=fields.get("valkey_version") or fields.get("redis_version") or server.version,
        pid=int(fields["process_id"]) if "process_id" in fields else None,
        socket=place.socket,
        folder=place.folder,
        uptime_s=int(fields["uptime_in_seconds"]) if "uptime_in_seconds" in fields else None,
    )


def stop() -> bool:
    """Stop the user's server and return once it has ended; its data are kept for the next start.

    Returns:
        Whether a server was running.

    Raises:
        BackendUnavailable: It did not end in time (`code="no_stop"`), there is no program, or the folder is unfit.
    """
    place = _running_place(find_server())
    if probe(place.socket) is Health.ABSENT:
        return False
    refusal = ""
    try:
        ask(place.socket, "SHUTDOWN", "NOSAVE", timeout_s=STOP_DEADLINE_S)  # the append-only file is written out
    except ServerReplyError as error:
        refusal = str(error)
    except OSError:
        pass  # the connection ends with the server
    if refusal or not poll(lambda: _is_free(place.lock), deadline_s=STOP_DEADLINE_S):
        raise BackendUnavailable(
            f"the embedded server in {place.folder} did not stop: {refusal or 'no answer'}", code="no_stop"
        )
    return True


def _is_free(lock: Path) -> bool:
    with _try_lock(lock) as descriptor:
        return descriptor is not None
