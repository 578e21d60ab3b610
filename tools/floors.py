"""The picture of the floors in docs/architecture.md, drawn from the imports: `python -m tools.floors` prints it.

Which floors there are, and in which order, is read from the contract in pyproject.toml.  What stands on them and what
it imports is read from the files, type-only and late imports included.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = "allocator"
DOCUMENT: Final = ROOT / "docs" / "architecture.md"
BEGIN: Final = "<!-- tools/floors.py draws this: python -m tools.generate -->\n"
END: Final = "<!-- the end of what is drawn -->\n"

WIDTH: Final = 118
"""Characters of a line of the picture."""

PUBLIC: Final = "`from allocator import ...`; clients and holds are imported on their first use."
"""What stands beside the package itself."""

BESIDE: Final = 30
"""Where the text beside a room's name begins."""


def modules() -> dict[str, Path]:
    """The file of each module, by its dotted name."""
    files = sorted((ROOT / PACKAGE).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imported(node: ast.AST) -> Iterator[str]:
    """The modules that one statement imports; `from a import b` imports a.b where that is a module of ours."""
    if isinstance(node, ast.Import):
        yield from (one.name for one in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, "relative imports are not used"
        for one in node.names:
            name = f"{node.module}.{one.name}"
            yield name if _is_ours(name) else str(node.module)


def _is_ours(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imports() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports.

    The public names that `allocator/__init__.py` imports on their first use are left out.
    """
    files = modules()
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if name == PACKAGE:
            tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
        graph[name] = {other for node in ast.walk(tree) for other in imported(node) if other in files}
    return graph


def floors() -> list[list[str]]:
    """The rooms of each floor, top to bottom, as the contract names them; the package itself is the second."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers: list[str] = next(one["layers"] for one in table["contracts"] if one["type"] == "layers")
    rooms = [layer.split(" | ") for layer in layers]
    top = next(at for at, floor in enumerate(rooms) if f"{PACKAGE}.apps" in floor) + 1
    return [*rooms[:top], [PACKAGE], *rooms[top:]]


def room_of(module: str, rooms: list[str]) -> str | None:
    """The room that a module stands in; a folder that only holds rooms stands in none."""
    found = [room for room in rooms if module == room or (room != PACKAGE and module.startswith(f"{room}."))]
    return max(found, key=len, default=None)


def between() -> dict[str, list[str]]:
    """Room -> the rooms that it imports, in the order of the floors."""
    rooms = [room for floor in floors() for room in floor]
    found: dict[str, set[str]] = defaultdict(set)
    for module, others in imports().items():
        here = room_of(module, rooms)
        if here:
            found[here] |= {room for other in others if (room := room_of(other, rooms)) and room != here}
    return {room: [other for other in rooms if other in found[room]] for room in rooms}


def _shown(room: str) -> str:
    return "public names" if room == PACKAGE else room.removeprefix(f"{PACKAGE}.").replace("_engine.", "")


def _purpose(path: Path) -> str:
    """The first sentence of what a module says that it is."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ").partition(".  ")[0].partition("::")[0]


def picture() -> str:
    """All floors, top to bottom."""
    files, edges = modules(), between()
    sizes = Counter(room_of(name, list(edges)) for name, path in files.items() if path.name != "__init__.py")
    lines: list[str] = []
    folder = ""
    for floor in floors():
        inside = f"{PACKAGE}/_engine" if floor[0].startswith(f"{PACKAGE}._engine") else PACKAGE
        lines.append(f"+{f'-- {inside} ' if inside != folder else '':-<{WIDTH - 2}}+")
        folder = inside
        for room in floor:
            purpose = PUBLIC if room == PACKAGE else _purpose(files[room])
            lines += _drawn(_shown(room), sizes[room], purpose, [_shown(one) for one in edges[room]])
    return "\n".join([*lines, f"+{'-' * (WIDTH - 2)}+"])


def _drawn(name: str, size: int, purpose: str, below: list[str]) -> Iterator[str]:
    """One room: its name and number of modules, what it is, what it imports."""
    count = f"{size} modules" if size > 1 else ""
    texts = textwrap.wrap(purpose, WIDTH - BESIDE - 3)
    if below:
        texts += textwrap.wrap("imports " + ", ".join(below), WIDTH - BESIDE - 3, subsequent_indent=" " * 8)
    for at, text in enumerate(texts):
        head = f" {name:17}{count:>10}" if at == 0 else ""
        yield f"|{head:{BESIDE}}{text:{WIDTH - BESIDE - 2}}|"


def document() -> str:
    """The page with the picture of today."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert after, f"{DOCUMENT.name} has lost one of its two marks"
    return f"{before}{BEGIN}\n```text\n{picture()}\n```\n\n{END}{after}"


if __name__ == "__main__":
    print(picture())
