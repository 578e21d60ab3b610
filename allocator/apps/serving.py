"""What the programs that serve HTTP share: which pools they serve, the first reading, and a port that is in use."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

import click

from allocator import BackendError, BackendUnavailable
from allocator.apps.cli.context import App
from allocator.apps.cli.errors import Failure

__all__ = ["cannot_listen", "named_pools", "try_pools", "url_of"]

_FOR_GOOD: Final = frozenset({"no_permission", "auth", "no_extra", "eviction"})
"""Codes of errors that no waiting ends."""

_OF_THE_PORT: Final = frozenset({errno.EADDRINUSE, errno.EACCES})
"""Why one cannot listen, where another port helps."""


def named_pools(app: App, pools: tuple[str, ...], most: int) -> tuple[str, ...]:
    """The pools that the command line names, each once; none: all under the prefix.

    Raises:
        click.UsageError: more than `most` are named.
    """
    named = tuple(dict.fromkeys(one for one in (*pools, app.named_pool) if one is not None))
    if len(named) > most:
        raise click.UsageError(f"more than {most} pools are named: start another one for the rest")
    return named


def try_pools(
    app: App, named: tuple[str, ...], told: str, discover: Callable[[], BackendError | None] | None = None
) -> None:
    """Read once, so that a wrong name or a missing right is an error now.  A server that is away may come.

    Args:
        app: the run.
        named: the pools; none: `discover` looks for them.
        told: what says so while the server is away, for the warning.
        discover: looks for the pools, and returns why they are not known; None: `pools.list` does.
    """
    client = app.client(allow_eviction=True)
    fault: BackendError | None = None
    try:
        for name in named:
            client.pools.usage(name)
        if not named and discover is not None:
            fault = discover()
        elif not named:
            client.pools.list()
    except BackendUnavailable as error:
        fault = error
    if fault is not None and fault.code in _FOR_GOOD:
        raise fault
    if fault is not None:
        app.note(f"warning: {fault}; {told} until it answers")


def cannot_listen(address: str, port: int, error: OSError | UnicodeError) -> Failure:
    """The failure to listen there, and which option helps.

    Args:
        address: where.
        port: the port.
        error: why; a name that DNS cannot have is a `UnicodeError`.
    """
    number = error.errno if isinstance(error, OSError) and error.errno else 0
    named_by = "--port" if number in _OF_THE_PORT else "--address"
    why = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
    return Failure(f"cannot listen on {address} port {port}: {why}", hint=f"{named_by} names another")


def url_of(address: str, port: int) -> str:
    """The URL of a server that listens there."""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
