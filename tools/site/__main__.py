"""Build the site: `python -m tools.site [FOLDER]`, by default into build/site.  A warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from sphinx.cmd.build import build_main

ROOT: Final = Path(__file__).parents[2]

FIRST_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>redis-resource-allocator</title>
<meta http-equiv="refresh" content="0; url=docs/README.html"></head>
<body><a href="docs/README.html">The documents of redis-resource-allocator</a></body>
</html>
"""


def main(arguments: list[str]) -> int:
    """Build, and say where the first page is."""
    folder = Path(arguments[0]) if arguments else ROOT / "build" / "site"
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-W", "--keep-going", "-n", "-q", "-E", "-a", "-b", "html", "-c", str(Path(__file__).parent)]
    code = build_main([*options, "-d", str(folder / ".doctrees"), str(ROOT), str(folder)])
    if code == 0:
        (folder / "index.html").write_text(FIRST_PAGE, encoding="utf-8")
        print(folder / "index.html")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
