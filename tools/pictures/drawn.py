"""The pictures that are drawn: what they should be, and how one is written."""

from __future__ import annotations

import importlib
from pathlib import Path

from tools.pictures import DRAWN, FOLDER

__all__ = ["pictures", "write"]


def pictures() -> dict[Path, str]:
    """Each picture that depends on the source alone."""
    return {FOLDER / f"{name}.svg": importlib.import_module(f"tools.pictures.{name}").draw() for name in DRAWN}


def write(name: str, text: str) -> None:
    """Write one."""
    (FOLDER / f"{name}.svg").write_text(text, encoding="utf-8")
