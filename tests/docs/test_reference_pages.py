"""docs/reference names everything: `tools.generate --check` compares the pages, and this says that they are whole."""

from __future__ import annotations

import re
from typing import Final

import click
import pytest

import allocator
from allocator import settings
from allocator._base import NAMESPACES
from allocator._engine.protocol import scripts
from allocator.apps.cli.root import root
from tools.reference import FOLDER, prose

_HEADING: Final = re.compile(r"^#+ `?([^`\n]+)`?$", re.MULTILINE)


def headings(page: str) -> set[str]:
    """What a page has a part about."""
    return set(_HEADING.findall((FOLDER / f"{page}.md").read_text(encoding="utf-8")))


def test_each_public_name_has_a_part() -> None:
    """A name that a program may import, and finds nowhere, is not used."""
    named = set().union(*map(headings, ("client", "values", "errors", "beside")))
    assert set(allocator.__all__) - named == set()


@pytest.mark.parametrize("client", [allocator.Allocator, allocator.AsyncAllocator])
def test_each_method_has_a_part(client: type) -> None:
    """Those of the namespaces, too."""
    named = headings("client")
    made = client.from_url("memory://")  # type: ignore[attr-defined]
    methods = {name for name in dir(client) if not name.startswith("_")} - NAMESPACES
    for place in NAMESPACES:
        members = vars(type(getattr(made, place)))
        methods |= {f"{place}.{name}" for name in members if not name.startswith("_")}
    assert methods - named == set()


def test_each_command_has_a_part() -> None:
    """With the words that one types."""

    def below(path: str, group: click.Group) -> set[str]:
        found = set()
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            words = f"{path} {name}".strip()
            found |= below(words, command) if isinstance(command, click.Group) else {words}
        return found

    assert below("", root) == headings("commands") - {"Commands", "Common options"}


def test_each_script_and_each_bound_is_named() -> None:
    """The contract of a script is its header, and each bound has its reason."""
    assert set(scripts.names()) - headings("scripts") == set()
    text = (FOLDER / "bounds.md").read_text(encoding="utf-8")
    bounds = {name for name in dir(settings) if re.fullmatch(r"[A-Z][A-Z_0-9]+", name)}
    assert {name for name in bounds if f"`{name}`" not in text} == set()


def test_a_docstring_becomes_lists_blocks_and_links() -> None:
    """As people write them here; a text is never taken for HTML."""
    lines = prose.markdown(
        "Say <it>.  See docs/units.md.\n\n::\n\n    a = 1      # why\n\n    b = 2\n\n"
        "Args:\n    one, two: The first\n        of them.\n\nReturns:\n    A `<b>`\n    text."
    )
    assert "\n".join(lines) == (
        "Say &lt;it>. See [units.md](../units.md).\n\n```py\na = 1  # why\n\nb = 2\n```\n\n"
        "Args:\n\n- `one`, `two`: The first\n  of them.\n\nReturns: A `<b>` text.\n"
    )
