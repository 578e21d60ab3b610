"""Resolve the text that a user typed to an allocation's id.

At a terminal a unique prefix of a live id is accepted, unless an allocation has exactly that id.  A script must give
whole ids: `release job-1`, sent again after job-1 ended, would otherwise release job-10.  A command that changes
something asks first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from allocator.apps.cli.context import App, at_terminal, confirmed
from allocator.apps.cli.errors import ExitCode, Failure
from allocator.apps.cli.output import printable

if TYPE_CHECKING:
    from allocator.models.allocations import Allocation

__all__ = ["SEARCH_MAX", "identify", "not_found"]

SEARCH_MAX: Final = 100_000
"""Live allocations that are searched for a prefix: about two seconds of the server's time."""

_LISTED: Final = 10
"""Ids that the message about an ambiguous prefix lists."""


def identify(app: App, text: str, *, verb: str = "") -> str:
    """The id that `text` stands for: itself, or at a terminal the live id of which it is a unique prefix.

    Args:
        app: the run.
        text: an id, or its prefix.
        verb: the action on it, for the question; "" if it is only read.

    Raises:
        click.UsageError: several live ids begin with the text; they are listed.
        Failure: the user answered no.
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
    """The failure for an id without a live allocation."""
    return Failure(f"no live allocation {printable(text)} in pool {pool}", ExitCode.NOT_FOUND)


def _ask(item: Allocation, text: str, verb: str) -> None:
    who = f"owner {item.owner}, {item.resources}"
    if not confirmed(f"No allocation {text}.  {verb.capitalize()} {item.id} ({who})?"):
        raise Failure("nothing was changed")
