"""A disk that does not answer: the thread of a server that syncs its append-only file is stopped, and it alone.

A debugger can stop one thread of a process (ptrace); the rest of the server goes on, as beside a slow disk.  The
thread stays stopped until the server is killed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.servers import Server

__all__ = ["NotPermitted", "hold_up_fsync"]

_TRACER: Final = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
thread, WALL = int(sys.argv[1]), 0x40000000
for request in (0x4206, 0x4207):  # PTRACE_SEIZE, PTRACE_INTERRUPT
    if libc.ptrace(request, thread, 0, 0) == -1:
        sys.exit(print(os.strerror(ctypes.get_errno())))
os.waitpid(thread, WALL)
print("stopped", flush=True)
os.waitpid(thread, WALL)  # it is killed
"""


class NotPermitted(Exception):
    """This machine lets nobody stop a thread."""


def hold_up_fsync(server: Server) -> subprocess.Popen[str]:
    """Stop the thread; the process that did so ends with the server.

    Raises:
        NotPermitted: No ptrace here.
    """
    tasks = Path(f"/proc/{server.pid}/task")
    thread = next(task.name for task in tasks.iterdir() if (task / "comm").read_text().startswith("bio_aof"))
    tracer = subprocess.Popen([sys.executable, "-c", _TRACER, thread], stdout=subprocess.PIPE, text=True)
    assert tracer.stdout is not None
    if (said := tracer.stdout.readline().strip()) != "stopped":
        tracer.wait()
        tracer.stdout.close()
        raise NotPermitted(said)
    return tracer
