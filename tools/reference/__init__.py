"""The pages of docs/reference, out of the source: `python -m tools.generate` writes them, and a test compares.

`source`     classes, methods and fields, read from the files without importing them
`prose`      a docstring as Markdown
`python`     the pages of the client, the values, the errors, and what is beside the clients
`programs`   the pages of the commands, the bounds and the scripts
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tools.reference import programs, python

__all__ = ["FOLDER", "pages"]

FOLDER: Final = Path(__file__).parents[2] / "docs" / "reference"

MADE: Final = (*python.PAGES, *programs.PAGES)
"""The name of each page, its title, what it has, and what writes it."""

FIRST: Final = """# Reference from the source

These pages are made from docstrings, headers and tables of the code by `python -m tools.generate`. They say what each
name does. The other documents say how to use them together.

"""


def pages() -> dict[Path, str]:
    """Each page."""
    rows = [f"| [{title}]({name}.md) | {has} |" for name, title, has, _ in MADE]
    rows.append("| [Metrics](../metrics.md#reference) | each metric, its labels and its meaning |")
    found = {FOLDER / "README.md": "\n".join([FIRST + "| page | has |", "|---|---|", *rows, ""])}
    for name, title, _, write in MADE:
        lines = [f"# {title}", "", *write()]
        found[FOLDER / f"{name}.md"] = "\n".join(lines).rstrip() + "\n"
    return found
