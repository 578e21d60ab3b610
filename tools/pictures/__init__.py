"""The pictures of the documents: `python -m tools.pictures [NAME]...` writes them into docs/pictures.

Each module here that has a `main` makes the pictures of one thing.  Those that are drawn (`DRAWN`) depend on the source
alone: `python -m tools.generate` writes them too, and a test compares.  The others are taken of the real programs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["DRAWN", "FOLDER"]

FOLDER: Final = Path(__file__).parents[2] / "docs" / "pictures"

DRAWN: Final = ("overview", "life", "keyspace", "failover", "floors")
"""Modules with a `draw` that returns the text of docs/pictures/NAME.svg."""
