"""The caller of the original document, untouched: every lab completes, as in memory."""

from __future__ import annotations

import collections
import subprocess
import sys
from pathlib import Path
from typing import Final

from allocator import ResourceAllocator
from tests.programs.compat import labs
from tests.support.waiting import wait_until

LABS: Final = 120
ROOT: Final = Path(__file__).resolve().parents[3]
PATIENCE_S: Final = 100.0


def phases(folder: Path) -> dict[str, int]:
    return dict(collections.Counter(labs.Lab(folder, number).phase for number in range(LABS)))


async def test_one_process_completes_every_lab(server_url: str, tmp_path: Path) -> None:
    """A hundred and twenty tasks for eight CPUs; the pool is empty at the end."""
    await labs.main(server_url, tmp_path, 0, LABS)
    assert phases(tmp_path) == {"Completed": LABS}
    async with ResourceAllocator(url=server_url) as allocator:
        assert (await allocator.usage())["allocated_cpu"] == 0.0


def start(url: str, folder: Path, first: int, last: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "tests.programs.compat.labs", url, str(folder), str(first), str(last)]
    return subprocess.Popen(words, cwd=ROOT)


def test_two_processes_one_of_them_killed_complete_every_lab(server_url: str, tmp_path: Path) -> None:
    """What the dead one was promised or was granted and had not stored lapses; another takes over its labs."""
    half = LABS // 2
    killed, other = start(server_url, tmp_path, 0, half), start(server_url, tmp_path, half, LABS)
    try:
        wait_until(
            lambda: sum(labs.Lab(tmp_path, number).phase == "Completed" for number in range(half)) >= 10,
            timeout_s=PATIENCE_S,
        )
        killed.kill()
        assert killed.wait(60) != 0, "it had ended before it was killed"
        heir = start(server_url, tmp_path, 0, half)
        try:
            assert heir.wait(PATIENCE_S) == 0
        finally:
            heir.kill()
        assert other.wait(PATIENCE_S) == 0
    finally:
        killed.kill()
        other.kill()
    assert phases(tmp_path) == {"Completed": LABS}
