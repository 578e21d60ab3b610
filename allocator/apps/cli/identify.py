"""From what a person typed to an allocation's id.

At a terminal a unique beginning of an id will do, as long as nothing bears exactly that id.  A script must give whole
ids: `release job-1`, sent again after job-1 ended, would otherwise take job-10.  A command that changes something asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from allocator.apps.cli.context import App, at_terminal, confirmed
from allocator.apps.cli.failures import ExitCode, Failure
from allocator.apps.cli.output import printable

if TYPE_CHECKING:
    from allocator.models.allocations import Allocation

__all__ = ["SEARCH_MAX", "identify", "not_found"]

SEARCH_MAX: Final = 100_000
"""Live allocations among which a beginning is looked for: about two seconds of the server's time."""

_LISTED: Final = 10
"""Ids that the message about an ambiguous beginning lists."""


def identify(app: App, text: str, *, verb: str = "") -> str:
    """The id that `text` stands for: itself, unless somebody at a terminal gave a unique beginning of a live one.

    Args:
        app: the run.
        text: an id, or its beginning.
        verb: what will be done to it, for the question; "" where it is only read.

    Raises:
        click.UsageError: several live ids begin so; they are listed.
        Failure: the question was answered with no.
    """
    if not at_terminal():
        return text
    client = app.client()
    if client.get(text) is not None or client.pools.usage().allocations > SEARCH_MAX:
        return text
    found = {item.id: item for item in client.list() if item.id.startswith(text)}
    if not found:
        return text
    if len(found) > 1:
        listed = sorted(found)
        more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        raise click.UsageError(f"{len(listed)} allocations begin with {text}: {', '.join(listed[:_LISTED])}{more}")
    item = next(iter(found.values()))
    if verb:
        _ask(item, text, verb)
    else:
        app.note(f"no allocation {text}; this is {item.id}")
    return item.id


def not_found(text: str, pool: str) -> Failure:
    """There is no live allocation of that id."""
    return Failure(f"no live allocation {printable(text)} in pool {pool}", ExitCode.NOT_FOUND)


def _ask(item: Allocation, text: str, verb: str) -> None:
    who = f"owner {item.owner}, {item.resources}"
    if not confirmed(f"No allocation {text}.  {verb.capitalize()} {item.id} ({who})?"):
        raise Failure("nothing was changed")
