"""What `resource-allocator top` costs on a quiet pool: `python -m bench.top_at_rest --allocations 50 --seconds 60`.

The program runs on a pseudo-terminal of 120 x 40, its output is read and dropped.  The processor time is that of its
process, from /proc, after its first ten seconds.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Final

from allocator import Allocator, Request
from allocator.testing import PrivateServer

POOL: Final = "quiet"
SETTLES_S: Final = 10.0


def fill(client: Allocator, count: int) -> None:
    """A pool with so many allocations, each alive for an hour."""
    client.pools.create(POOL, {"cpu": max(1, count * 2), "memory": f"{max(1, count * 4)}Gi"})
    for begin in range(0, count, 5_000):
        batch = range(begin, min(count, begin + 5_000))
        client.allocate_many([Request({"cpu": 1, "memory": "2Gi"}, 3600, id=f"job-{one:06}") for one in batch])


def used_s(process: int) -> float:
    """The processor time of a process, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def drain(terminal: int, seconds: float) -> int:
    """Read what is written, for so long; returns how many bytes it was."""
    ends, total = time.monotonic() + seconds, 0
    while (left := ends - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            total += len(os.read(terminal, 65_536))
    return total


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--allocations", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    with PrivateServer() as server, Allocator.from_url(server.url, pool=POOL) as client:
        fill(client, given.allocations)
        outer, inner = pty.openpty()
        fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        command = [sys.executable, "-m", "allocator", "top", POOL, "--url", server.url]
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=environment) as process:
            drain(outer, SETTLES_S)
            before_s = used_s(process.pid)
            written = drain(outer, given.seconds)
            share = (used_s(process.pid) - before_s) / given.seconds
            os.write(outer, b"q")
            drain(outer, 2.0)
            process.terminate()
    print(f"{given.allocations} allocations: {share:.2%} of a core, {written / given.seconds:.0f} bytes a second")


if __name__ == "__main__":
    main()
