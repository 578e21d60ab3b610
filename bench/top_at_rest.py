"""What `resource-allocator top` costs on a quiet pool: `python -m bench.top_at_rest --allocations 50 --seconds 60`.

The program runs on a pseudo-terminal of 120 x 40, its output is read and dropped.  The processor time is that of its
process, after its first ten seconds.
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
from typing import Final

from allocator import Allocator, Request
from allocator.testing import PrivateServer

POOL: Final = "quiet"
SETTLES_S: Final = 10.0
ALLOCATIONS: Final = 50


def fill(client: Allocator, count: int) -> None:
    """A pool with so many allocations, each alive for an hour."""
    client.pools.create(POOL, {"cpu": max(1, count * 2), "memory": f"{max(1, count * 4)}Gi"})
    for begin in range(0, count, 5_000):
        batch = range(begin, min(count, begin + 5_000))
        client.allocate_many([Request({"cpu": 1, "memory": "2Gi"}, 3600, id=f"job-{one:06}") for one in batch])


def used_s(process: int) -> float:
    """The processor time of a process and all its threads, in seconds.

    It is the kernel's clock of that process (`clock_getcpuclockid`): /proc counts in hundredths of a second, and a
    program at rest takes less.
    """
    return time.clock_gettime(~process << 3 | 2)


def drain(terminal: int, seconds: float) -> int:
    """Read what is written, for so long; returns how many bytes it was."""
    ends, total = time.monotonic() + seconds, 0
    while (left := ends - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            total += len(os.read(terminal, 65_536))
    return total


def measure(url: str, pool: str, seconds: float, *, settles_s: float = SETTLES_S) -> tuple[float, float]:
    """Run it on a pool that rests; returns the part of a core that it takes, and the bytes a second that it writes."""
    outer, inner = pty.openpty()
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    command = [sys.executable, "-m", "allocator", "top", pool, "--url", url]
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    try:
        with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=environment) as process:
            try:
                drain(outer, settles_s)
                before_s, began = used_s(process.pid), time.monotonic()
                written = drain(outer, seconds)
                spent_s, took_s = used_s(process.pid) - before_s, time.monotonic() - began
                if process.poll() is not None:
                    raise RuntimeError("top has ended by itself")
                os.write(outer, b"q")
                drain(outer, 2.0)
            finally:
                process.terminate()
    finally:
        os.close(outer)
        os.close(inner)
    return spent_s / took_s, written / took_s


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--allocations", type=int, default=ALLOCATIONS)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    with PrivateServer() as server, Allocator.from_url(server.url, pool=POOL) as client:
        fill(client, given.allocations)
        share, written = measure(server.url, POOL, given.seconds)
    print(f"{given.allocations} allocations: {share:.2%} of a core, {written:.0f} bytes a second")


if __name__ == "__main__":
    main()
