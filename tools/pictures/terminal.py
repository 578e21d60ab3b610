"""What a program shows at a terminal, as SVG, by rich.  The fonts are those of the machine that looks at it."""

from __future__ import annotations

import io
import re
from typing import Final

from rich.console import Console, RenderableType
from rich.terminal_theme import DIMMED_MONOKAI

__all__ = ["terminal"]

_FONTS: Final = re.compile(r"\s*@font-face \{.*?\}\n", re.DOTALL)
"""Rich names a font that a browser would fetch from elsewhere."""

_COMMENT: Final = re.compile(r"\s*<!--.*?-->", re.DOTALL)


def terminal(name: str, title: str, shown: RenderableType, *, description: str, columns: int, rows: int) -> str:
    """What a terminal of this size shows."""
    console = Console(
        file=io.StringIO(), record=True, width=columns, height=rows, force_terminal=True, color_system="truecolor"
    )
    console.print(shown)
    svg = console.export_svg(title=title, theme=DIMMED_MONOKAI, unique_id=name)
    svg = _COMMENT.sub("", _FONTS.sub("", svg)).replace(
        "font-family: Fira Code, monospace", 'font-family: "DejaVu Sans Mono", monospace'
    )
    head, _, rest = svg.partition(">")
    return f'{head} role="img"><title>{title}</title><desc>{description}</desc>{rest}\n'
