"""What a program shows at a terminal, as SVG, by rich.  The fonts are those of the machine that looks at it."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Final

from rich.console import Console, RenderableType
from rich.terminal_theme import DIMMED_MONOKAI

__all__ = ["described", "terminal"]

_FONTS: Final = re.compile(r"\s*@font-face \{.*?\}\n", re.DOTALL)
"""Rich names a font that a browser would fetch from elsewhere."""

_COMMENT: Final = re.compile(r"\s*<!--.*?-->", re.DOTALL)


def terminal(name: str, title: str, shown: RenderableType, *, description: str, columns: int, rows: int) -> str:
    """What a terminal of this size shows."""
    console = Console(
        file=io.StringIO(), record=True, width=columns, height=rows, force_terminal=True, color_system="truecolor"
    )
    console.print(shown)
    return described(console.export_svg(title=title, theme=DIMMED_MONOKAI, unique_id=name), title, description)


def described(svg: str, title: str, description: str) -> str:
    """A picture of rich or Textual that loads nothing, with a text for those who do not see it."""
    svg = _COMMENT.sub("", _FONTS.sub("", svg)).replace("Fira Code", "DejaVu Sans Mono")
    head, _, rest = svg.partition(">")
    said = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    return f'{head} role="img">{said}{rest.rstrip()}\n'
