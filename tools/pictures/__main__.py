"""Make the pictures: all of them, or those of the modules that are named."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Final

from tools.pictures import FOLDER, gallery
from tools.pictures.terminal import described

HELPERS: Final = ("__main__", "canvas", "drawn", "gallery", "terminal")


def names() -> list[str]:
    """The modules that make pictures."""
    found = [one.name for one in pkgutil.iter_modules([str(Path(__file__).parent)])]
    return [name for name in found if name not in HELPERS]


def main(asked: list[str]) -> int:
    """Run each module's `main`."""
    unknown = set(asked) - set(names())
    if unknown:
        print(f"there is no picture {', '.join(sorted(unknown))}: {', '.join(names())}", file=sys.stderr)
        return 2
    FOLDER.mkdir(exist_ok=True)
    for name in asked or names():
        importlib.import_module(f"tools.pictures.{name}").main()
        print(f"{name} made")
    for path in FOLDER.glob("*.svg"):
        svg = path.read_text(encoding="utf-8")
        if "@font-face" in svg:  # of a program that draws by itself
            said = f"resource-allocator {path.stem}"
            path.write_text(described(svg, said, f"What {said} shows at a terminal."), encoding="utf-8")
    gallery.PAGE.write_text(gallery.page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
