"""Whoever follows the documents gets what they show: each block is run, each link resolves, each command exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import click
import pytest

from allocator.apps.cli.root import root
from tests.docs.blocks import PROGRAM, ROOT, Block, Session, blocks, commands, documents, same, unbound
from tests.support.servers import Server

DOCUMENTS: Final = documents()

IN_A_SHELL: Final = ROOT / "docs" / "tutorial.md"
"""It starts processes, and tests/docs/test_tutorial.py follows it."""

RUN: Final = [
    path
    for path in DOCUMENTS
    if path != IN_A_SHELL and any(block.language in ("python", "console") for block in blocks(path))
]

_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_IN_PROSE: Final = re.compile(rf"`{PROGRAM} ([^`]+)`")
_IN_CODE: Final = re.compile(rf"(?<![-/'\w]){PROGRAM} (.+)")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def session(one_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """An empty server, which the environment names."""
    for name in ("REDIS_URL", "ALLOCATOR_POOL", "NO_COLOR", "ALLOCATOR_REQUIRE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALLOCATOR_REDIS_URL", one_server.url)
    monkeypatch.setenv("COLUMNS", "100")
    yield Session(one_server)
    for user in ("controller", "inspector"):
        one_server.ask("ACL", "DELUSER", user)


def check_console(block: Block, session: Session) -> None:
    for command, expected in commands(block):
        printed = session.command(command)
        assert same(expected, printed), f"{block.path}:{block.line}\n$ {command}\n{printed}"


@pytest.mark.parametrize("path", RUN, ids=named)
def test_every_block_of_a_document_does_what_it_shows(path: Path, session: Session) -> None:
    """The blocks of a document are one session, from the top: a reader may paste them one after another."""
    printed: str | None = None
    for block in blocks(path):
        if block.language == "python":
            printed = session.python(block)
            continue
        if block.language == "console":
            check_console(block, session)
        elif block.language == "text" and block.adjoins and printed is not None:
            assert same(block.text, printed), f"{path}:{block.line}\n{printed}"
        printed = None


@pytest.mark.parametrize("path", RUN, ids=named)
def test_every_block_can_be_copied_alone(path: Path) -> None:
    """It imports what it uses, or its first line says that it continues another block."""
    for block in blocks(path):
        if block.language == "python" and not block.text.startswith("# continues "):
            assert not unbound(block.text), f"{path}:{block.line}"


def test_both_quick_starts_and_the_keyspace_are_among_what_is_run() -> None:
    """A block that lost its language would not be run, and nobody would notice."""
    languages = {path.name: [block.language for block in blocks(path)] for path in RUN}
    assert languages["README.md"].count("python") == 3
    assert languages["keyspace.md"].count("console") == 7
    assert {"README.md", "keyspace.md", "operations.md", "guarantees.md", "policies.md", "units.md"} <= set(languages)


def fragment(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_link_within_the_repository_resolves(path: Path) -> None:
    """Also those to a heading."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in _LINK.findall(text):
        if "://" in link:
            continue
        place, _, anchor = unquote(link).partition("#")
        target = path.parent / place if place else path
        assert target.exists(), f"{path}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in map(fragment, headings), f"{path}: {link}"


def shown_commands(path: Path) -> Iterator[str]:
    """Every command line of ours that a document shows, in a block or in the midst of a sentence."""
    code = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            code = not code
        elif code or line.startswith("    "):
            yield from (match.partition("  #")[0].rstrip(" \\") for match in _IN_CODE.findall(line))
        else:
            yield from _IN_PROSE.findall(line)


def check_exists(words: list[str]) -> None:
    """Walk down the commands, then look up each option that follows."""
    command: click.Command = root
    options = options_of(root)
    for word in words:
        if word == "--":
            break  # what follows is a command of somebody else
        below = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if below is not None:
            command = below
            options |= options_of(command)
        elif word.startswith("-"):
            assert word.partition("=")[0] in options, f"{command.name} has no option {word}"
    assert not isinstance(command, click.Group) or "--help" in words, f"there is no such command: {words}"


def options_of(command: click.Command) -> set[str]:
    """The spellings of a command's options."""
    context = click.Context(command, help_option_names=["-h", "--help"])  # click keeps the first that it made
    return {spelt for each in command.get_params(context) for spelt in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_command_that_is_shown_exists_with_its_options(path: Path) -> None:
    """Also the commands that are not run here, such as that of the cron job."""
    for shown in shown_commands(path):
        simple = re.split(r"[|;)&>]|\.\.\.", shown)[0]
        check_exists(shlex.split(simple.replace("\\|", "|")))


def test_every_target_of_make_that_is_shown_exists() -> None:
    """The two commands come first, so they had better be there."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    shown = {name for path in DOCUMENTS for name in re.findall(r"(?:`|^ *)make (\w+)", path.read_text(), re.MULTILINE)}
    assert {"demo", "test"} <= shown <= targets
