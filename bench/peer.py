"""`redis-allocator` of PyPI, in an environment of its own, so that neither it nor what it needs is ours."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.rows import LeftOut

__all__ = ["NAME", "VERSION", "python"]

NAME: Final = "redis-allocator"
VERSION: Final = "0.7.0"

_FOLDER: Final = Path(__file__).parents[1] / ".bench" / f"{NAME}-{VERSION}"
_INSTALL_S: Final = 120.0


def python(folder: Path = _FOLDER) -> Path:
    """Its interpreter; the environment is made where there is none yet, with the redis-py and hiredis that we have.

    Raises:
        LeftOut: It cannot be installed.
    """
    found = folder / "bin" / "python"
    wanted = [f"{NAME}=={VERSION}", *_same("redis"), *_same("hiredis")]
    noted = folder / "installed.txt"
    if noted.exists() and noted.read_text().split() == wanted:
        return found
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise LeftOut(f"{NAME} {VERSION} cannot be installed: {said[-1] if said else type(error).__name__}") from error
    noted.write_text("\n".join(wanted))
    return found


def _same(package: str) -> list[str]:
    """The version of a package that we have ourselves."""
    return [f"{package}=={importlib.metadata.version(package)}"] if importlib.util.find_spec(package) else []


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
