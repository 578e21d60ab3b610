"""Lint the Lua: luacheck on each file as it is.

Scripts and modules are plain Lua files: what is undefined, unused or shadowed in one of them is so in the linked text.
`.luacheckrc` knows `redis` and no other name beyond Lua's own, not even KEYS and ARGV, and makes no exceptions.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from allocator._engine.protocol import scripts

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Exit status 1 where anything is to be mended."""
    luacheck = shutil.which("luacheck")
    if luacheck is None:
        sys.stdout.write("luacheck is not installed (Debian: lua-check): the scripts were not linted\n")
        return 0
    command = [luacheck, "--no-color", "-q", "--config", str(ROOT / ".luacheckrc"), str(scripts.folder())]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
