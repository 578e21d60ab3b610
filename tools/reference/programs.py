"""The pages about the command line, the bounds, and the scripts."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from typing import Final

import click

from allocator import settings
from allocator.apps.cli.program import PROGRAM
from allocator.apps.cli.root import root
from tools.reference.prose import cell, code, markdown
from tools.reference.source import ROOT, followed

COLUMNS: Final = 110
"""Characters of a line of help."""

_COMMON: Final = "\n\nCommon options, before or after the command:\n"
_PART: Final = re.compile(r"^# -- (.+?) -+$", re.MULTILINE)
_CONTRACT: Final = re.compile(r"^(KEYS|ARGV|Reply|Writes|Cost)\b", re.MULTILINE)


# -- commands ----------------------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """The help of each command."""
    yield from [
        "What `--help` prints, command by command. [cli.md](../cli.md) says what they are for, with examples, exit",
        "codes and the output for programs.",
        "",
        "## Common options",
        "",
    ]
    yield from code(_help([PROGRAM], root).partition(_COMMON)[2].partition("\n\n")[0], "text")
    yield from _below([PROGRAM], root, click.Context(root, info_name=PROGRAM))


def _below(path: list[str], group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        here = [*path, name]
        if isinstance(command, click.Group):
            yield from _below(here, command, click.Context(command, info_name=name, parent=context))
        else:
            yield from [f"## {' '.join(here[1:])}", "", *code(_help(here, command), "text")]


def _help(path: list[str], command: click.Command) -> str:
    """What it prints, without the options that all commands have, except for the program itself."""
    fresh = copy.copy(command)
    vars(fresh)["_help_option"] = None  # click keeps the one that it made first, of whichever context
    context = click.Context(
        *(fresh, None, " ".join(path)),
        terminal_width=COLUMNS,
        max_content_width=COLUMNS,
        help_option_names=["-h", "--help"],
    )
    text = fresh.get_help(context)
    text = text if command is root else text.partition(_COMMON)[0]
    return "\n".join(line.rstrip() for line in text.splitlines())


# -- bounds ------------------------------------------------------------------------------------------------------------


def bounds() -> Iterator[str]:
    """The limits and defaults of `allocator/settings.py`, part by part."""
    text = (ROOT / "allocator" / "settings.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    yield from markdown(ast.get_docstring(tree) or "")
    parts = [(text[: one.start()].count("\n") + 1, one[1]) for one in _PART.finditer(text)]
    rows = list(_rows(tree.body))
    for at, (begin, title) in enumerate(parts):
        end = parts[at + 1][0] if at + 1 < len(parts) else len(text)
        yield from [f"## {title.capitalize()}", "", "| name | is | means |", "|---|---|---|"]
        yield from (row for line, row in rows if begin < line < end)
        yield ""


def _rows(body: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """The line and the row of each setting; those that share a docstring share a row."""
    group: list[str] = []
    for at, node in enumerate(body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        group.append(node.target.id)
        text = followed(body, at)
        after = body[at + 1] if at + 1 < len(body) else None
        if text or not (isinstance(after, ast.AnnAssign) and after.lineno == (node.end_lineno or 0) + 1):
            names = "<br>".join(f"`{name}`" for name in group)
            shown = "<br>".join(_shown(getattr(settings, name)) for name in group)
            yield node.lineno, f"| {names} | {shown} | {cell(text)} |"
            group = []


def _shown(value: object) -> str:
    """A value as people write it."""
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    if isinstance(value, int | float):
        return f"{int(value):,}" if value == int(value) else f"{value:.4g}"
    return f"`{value}`"


# -- scripts -----------------------------------------------------------------------------------------------------------


def scripts() -> Iterator[str]:
    """The contract of each script, from its header, and what each module is for."""
    yield from [
        "Each verb is one script, and its header is its contract. Each also takes the pool's keys and the arguments",
        "that `lua/modules/context.lua` declares. [lua/README.md](../../lua/README.md) has the rules,",
        "[keyspace.md](../keyspace.md) the keys and fields.",
        "",
    ]
    folders = sorted({path.parent for path in (ROOT / "lua" / "scripts").rglob("*.lua")})
    for folder in folders:
        yield from [f"## {folder.name.capitalize()}", ""]
        for path in sorted(folder.glob("*.lua")):
            yield from _script(path.stem, path.read_text(encoding="utf-8"))
    yield from ["## Modules", "", "What scripts share.", "", "| module | has |", "|---|---|"]
    for path in sorted((ROOT / "lua" / "modules").rglob("*.lua")):
        yield f"| `{path.stem}` | {cell(_first_sentence(path.read_text(encoding='utf-8')))} |"


def _script(name: str, text: str) -> Iterator[str]:
    """The heading, the prose of the header, and its contract as it stands."""
    header = text.partition("--[[\n")[2].partition("\n]]")[0].partition(" -- ")[2]
    begin = _CONTRACT.search(header)
    assert begin, name
    contract, _, after = header[begin.start() :].partition("\n\n")
    yield from [f"### {name}", "", *markdown(header[: begin.start()].strip()), *code(contract, "text")]
    if after.strip():
        yield from markdown(after.strip())


def _first_sentence(text: str) -> str:
    """Of the comment at a module's top, without its name."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    said = " ".join(lines).partition(": ")[2]
    sentence = re.split(r"(?<=\.)\s+(?=[A-Z{`])", said)[0]
    return sentence[:1].upper() + sentence[1:]


PAGES: Final = (
    ("commands", "Commands", "the help of each command", commands),
    ("bounds", "Bounds and defaults", "each limit, its unit and its reason", bounds),
    ("scripts", "Scripts", "keys, arguments, replies, writes and cost of each script", scripts),
)
"""Name, title, what it has, and what writes it."""
