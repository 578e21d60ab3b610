"""A drawing of boxes, texts and arrows as SVG, readable on light and dark pages.

It has its own background, so it is readable wherever it stands.  Coordinates are whole numbers, so that the text of a
drawing is the same on each machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

__all__ = ["Drawing"]

_STYLE: Final = """
:root{--page:#ffffff;--edge:#d0d7de;--ink:#1f2328;--soft:#59636e;--line:#6e7781;
--plain:#f6f8fa;--blue:#ddf4ff;--blue-edge:#0969da;--green:#dafbe1;--green-edge:#1a7f37;
--amber:#fff8c5;--amber-edge:#9a6700;--red:#ffebe9;--red-edge:#cf222e}
@media (prefers-color-scheme:dark){:root{--page:#0d1117;--edge:#30363d;--ink:#e6edf3;--soft:#9198a1;--line:#848d97;
--plain:#161b22;--blue:#0c2d4d;--blue-edge:#4493f8;--green:#0f2e1a;--green-edge:#3fb950;
--amber:#332708;--amber-edge:#d29922;--red:#3b1418;--red-edge:#f85149}}
text{font:14px ui-sans-serif,system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:var(--ink)}
.head{font-weight:600}.small{font-size:12px}.soft{fill:var(--soft)}
.code{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.middle{text-anchor:middle}.end{text-anchor:end}
.page{fill:var(--page);stroke:var(--edge)}
.box{stroke-width:1.5}.plain{fill:var(--plain);stroke:var(--edge)}.blue{fill:var(--blue);stroke:var(--blue-edge)}
.green{fill:var(--green);stroke:var(--green-edge)}.amber{fill:var(--amber);stroke:var(--amber-edge)}
.red{fill:var(--red);stroke:var(--red-edge)}
.arrow{fill:none;stroke:var(--line);stroke-width:1.5}.dashed{stroke-dasharray:5 4}.tip{fill:var(--line)}
.label{paint-order:stroke;stroke:var(--page);stroke-width:5px;stroke-linejoin:round}
"""


class Drawing:
    """A picture with a title and a description for those who do not see it."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        tip = 'viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto-start-reverse"'
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            f"<style>{_STYLE}</style>",
            f'<defs><marker id="tip" {tip}><path class="tip" d="M0 0L10 5L0 10z"/></marker></defs>',
            f'<rect class="page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        ]

    def text(self, x: int, y: int, text: str, style: str = "") -> None:
        """A line of text; `y` is its base line.  Styles: head small soft code middle end label."""
        attribute = f' class="{style}"' if style else ""
        self._parts.append(f'<text{attribute} x="{x}" y="{y}" xml:space="preserve">{escape(text)}</text>')

    def box(self, x: int, y: int, width: int, height: int, color: str = "plain") -> None:
        """A box; colours: plain blue green amber red."""
        self._parts.append(f'<rect class="box {color}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>')

    def titled(self, x: int, y: int, width: int, height: int, lines: Sequence[str], color: str = "plain") -> None:
        """A box with centred lines, the first of them its name."""
        self.box(x, y, width, height, color)
        top = y + height // 2 - (len(lines) - 1) * 9 + 5
        for at, line in enumerate(lines):
            self.text(x + width // 2, top + at * 18, line, "head middle" if at == 0 else "small soft middle")

    def arrow(self, *points: tuple[int, int], dashed: bool = False, both: bool = False, tip: bool = True) -> None:
        """A line through the points, with a tip at its end."""
        path = "M" + "L".join(f"{x} {y}" for x, y in points)
        self.path(path, dashed=dashed, both=both, tip=tip)

    def path(self, path: str, *, dashed: bool = False, both: bool = False, tip: bool = True) -> None:
        """The same for a path of SVG."""
        style = "arrow dashed" if dashed else "arrow"
        ends = (' marker-start="url(#tip)"' if both else "") + (' marker-end="url(#tip)"' if tip else "")
        self._parts.append(f'<path class="{style}" d="{path}"{ends}/>')

    def label(self, x: int, y: int, *lines: str, style: str = "middle") -> None:
        """Small texts on or beside an arrow, 15 apart."""
        for at, line in enumerate(lines):
            self.text(x, y + at * 15, line, f"small label {style}")

    def svg(self) -> str:
        """The picture."""
        return "\n".join([*self._parts, "</svg>", ""])
