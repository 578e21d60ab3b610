"""Lint the Lua as the server sees it: each script with its includes, in one file.

A fragment alone would raise false alarms (its locals come from elsewhere), so luacheck runs on the expanded scripts.
Includes that a script does not need are unused closures that cost time on every call: they are reported too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from allocator._engine import scripts

ROOT = Path(__file__).parents[2]
INCLUDE = re.compile(r"^ *--@include (\w+)$", re.MULTILINE)

CHUNKS = ("now", "clock", "account", "alarm", "save_account", "meeting")
"""Includes that are statements rather than a local to call."""


def expand(folder: Path) -> list[Path]:
    """Write each expanded script into `folder`."""
    paths = []
    for name in scripts.names():
        path = folder / f"{name}.lua"
        text = scripts.load(name).text
        path.write_text("--" + text.removeprefix("#!lua") if text.startswith("#!") else text, encoding="utf-8")
        paths.append(path)
    return paths


def unused_includes() -> list[str]:
    """`file: include name is not used`, for scripts and includes alike."""
    problems = []
    for path in sorted(scripts.folder().rglob("*.lua")):
        text = path.read_text(encoding="utf-8")
        body = INCLUDE.sub("", text)
        problems += [
            f"{path.name}: include {name} is not used"
            for name in INCLUDE.findall(text)
            if name not in CHUNKS and f"{name}." not in body and f"{name}(" not in body
        ]
    return problems


def main() -> int:
    """Exit status 1 where anything is to be mended."""
    problems = unused_includes()
    for problem in problems:
        sys.stdout.write(problem + "\n")
    luacheck = shutil.which("luacheck")
    if luacheck is None:
        sys.stdout.write("luacheck is not installed (Debian: lua-check): the scripts were not linted\n")
        return bool(problems)
    with tempfile.TemporaryDirectory() as folder:
        paths = expand(Path(folder))
        config = str(ROOT / ".luacheckrc")
        status = subprocess.run([luacheck, "--no-color", "-q", "--config", config, *map(str, paths)], check=False)
    return status.returncode or bool(problems)


if __name__ == "__main__":
    sys.exit(main())
