"""Run every example as a process of its own: `python -m examples.run_all`.

A program that ends with another exit code than 0, or not within a minute, is shown with all it has printed, and makes
this one end with 1.  A file without `if __name__ == "__main__"` is no program and is left alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TIME_LIMIT_S = 60
AT_ONCE = 2
"""How many run at the same time: most of the time they wait for processes."""


def programs() -> list[str]:
    """The modules of this folder that can be run, but for this one."""
    return sorted(
        path.stem
        for path in HERE.glob("*.py")
        if path.name != Path(__file__).name and 'if __name__ == "__main__"' in path.read_text()
    )


def run(name: str) -> bool:
    """Run one, print one line, and all of its output if it failed."""
    started = time.monotonic()
    # On stores of their own: an example must not meet, nor touch, what the environment's Redis holds.
    environment = {key: value for key, value in os.environ.items() if key not in {"ALLOCATOR_REDIS_URL", "REDIS_URL"}}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-m", f"examples.{name}"],
            cwd=HERE.parent,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIME_LIMIT_S,
            check=False,
        )
        verdict, output = "ok" if done.returncode == 0 else f"exit code {done.returncode}", done.stdout
    except subprocess.TimeoutExpired as error:
        verdict, output = f"not finished after {TIME_LIMIT_S} s", error.stdout or b""
    text = "" if verdict == "ok" else f"\n{output.decode(errors='replace')}"
    print(f"{name:<24} {verdict} ({time.monotonic() - started:.1f} s){text}", flush=True)
    return verdict == "ok"


def main() -> int:
    """Run all of them, also after one has failed."""
    with ThreadPoolExecutor(AT_ONCE) as runners:
        passed = list(runners.map(run, programs()))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
