"""What the documents show, taken apart and run.

    ```python     run in order, all of one document in one namespace; a ```text block right after it is what it prints.
                  Each binds the names that it reads, unless its first line says `# continues ...`
    ```console    `$ command` lines, each followed by what it prints; `...` stands for anything
    ```sh         commands that are not run here (`make`, `pip`); their words are checked
    ```yaml       must parse

Each document has an empty server of its own, and the environment names it.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import doctest
import io
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner

from allocator.apps.cli.root import root
from tests.support.servers import Server
from tests.support.tools import require

__all__ = ["PROGRAM", "ROOT", "Block", "Session", "blocks", "commands", "documents", "same", "unbound"]

ROOT: Final = Path(__file__).parents[2]

PROGRAM: Final = "resource-allocator"

_FENCE: Final = re.compile(r"^```(\w*)$")
_VARYING: Final = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z"  # an instant
    r"|\b\d{13}(-\d+)?\b|\b\d{16}\b"  # milliseconds, the id of an event, a fence
    r"|\b\d+m\d+s\b|\b\d+(\.\d+)?s\b"  # a duration that passes
    r"|(?<![\w-])(?=[\w-]*[A-Z\d])[\w-]{16}(?![\w-])"  # the id of a call or an epoch
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a document; `line` is that of its first line of content."""

    path: Path
    line: int
    language: str
    text: str
    adjoins: bool
    """Nothing but blank lines stands between it and the block before."""


def documents() -> list[Path]:
    """Every document of the repository."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("lua/*.md")])


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    found: list[Block] = []
    language, begin, prose = None, 0, True
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if fence and language is None:
            language, begin = fence[1], number + 1
        elif fence:
            found.append(Block(path, begin, language or "", "\n".join(lines[begin - 1 : number - 1]), not prose))
            language, prose = None, False
        elif language is None and line.strip():
            prose = True
    assert language is None, f"{path}: the block of line {begin} does not end"
    return found


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what it prints."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        joined = part.replace("\\\n", "")
        command, _, printed = joined.partition("\n")
        yield command, printed


def unbound(text: str) -> set[str]:
    """The names that a Python text reads and binds nowhere; scopes are not told apart."""
    read, bound = set[str](), {*dir(builtins), "__name__"}
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add(other or name.partition(".")[0])
            case _:
                pass
    return read - bound


def same(expected: str, printed: str) -> bool:
    """Whether both are the same but for instants, ids, fences and blanks."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    want, got = (_VARYING.sub("VARIES", text).strip() + "\n" for text in (expected, printed))
    return doctest.OutputChecker().check_output(want, got, flags)


class Session:
    """Runs the blocks of one document on one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._names: dict[str, Any] = {"__name__": "__main__"}

    def python(self, block: Block) -> str:
        """Run a block and return what it prints; an error names the line of the document."""
        printed = io.StringIO()
        code = compile("\n" * (block.line - 1) + block.text, str(block.path), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, self._names)
        return printed.getvalue()

    def command(self, command: str) -> str:
        """Run a command and return what it prints; where there is no `redis-cli`, the test ends here, as left out."""
        words = shlex.split(command)
        if words[0] == PROGRAM and "|" not in words:
            return _without_waits(CliRunner().invoke(root, words[1:], prog_name=PROGRAM).output)
        assert words[0] == "redis-cli", f"nobody knows how to run {command!r}"
        require("redis-cli")
        here = f'redis-cli() {{ command redis-cli -s {shlex.quote(self._server.socket)} "$@"; }}\n'
        run = subprocess.run(["bash", "-c", here + command], capture_output=True, text=True, timeout=60, check=False)
        return run.stdout + _without_waits(run.stderr)


def _without_waits(printed: str) -> str:
    """Without what a busy machine makes it say, after a second without a connection or a result."""
    return "".join(line for line in printed.splitlines(keepends=True) if not line.startswith("waiting for "))
