"""`dashboard`: parses, refuses what could never be served, and serves until it is stopped."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import socket
import stat
from pathlib import Path
from typing import Final

import click

from allocator.apps.cli.arguments import whole_number
from allocator.apps.cli.context import App, Command, pass_app
from allocator.apps.cli.errors import ExitCode, Failure
from allocator.apps.cli.output import View, document, show
from allocator.apps.dashboard import bounds
from allocator.apps.dashboard.security import Rules, is_loopback
from allocator.apps.dashboard.server import Dashboard, listen, serve
from allocator.apps.serving import cannot_listen, named_pools, try_pools, url_of

__all__ = ["dashboard", "is_secret"]

_TOKEN: Final = re.compile(rf"[A-Za-z0-9._~+/=-]{{{bounds.TOKEN_LENGTH_MIN},{bounds.TOKEN_LENGTH_MAX}}}", re.ASCII)

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|\[?[0-9A-Fa-f:.]{2,45}\]?", re.ASCII)

_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104 - nothing is bound


def _host(text: str) -> str:
    """Parse a name of this server, as browsers write it: without a port."""
    if not _NAME.fullmatch(text):
        raise click.BadParameter(f"{text[:64]!a} is no name or address: write it without http:// and without a port")
    return text


def is_secret(status: os.stat_result, user: int) -> bool:
    """Whether nobody else reads or writes a file.

    A file of another owner may be read by its group: so Kubernetes (`fsGroup`) and systemd (`LoadCredential`) give a
    secret to one process.

    Args:
        status: that of the file.
        user: the user id of this process.
    """
    others = stat.S_IRWXO | (stat.S_IRWXG if status.st_uid == user else stat.S_IWGRP)
    return not status.st_mode & others


def _token_in(path: str) -> str:
    """The token in a file that nobody else may read.

    Raises:
        Failure: It cannot be read, others may read it, or what it has is no token.
    """
    status: os.stat_result | None = None
    try:
        with Path(path).open(encoding="ascii") as file:
            status = os.fstat(file.fileno())
            text = file.read(bounds.TOKEN_LENGTH_MAX + 2).strip()
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}", ExitCode.USAGE) from error
    except UnicodeDecodeError:
        text = ""
    if status is not None and not is_secret(status, os.geteuid()):
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise Failure(f"others may read {path} (mode {mode})", ExitCode.USAGE, hint=f"chmod 600 {path}")
    if not _TOKEN.fullmatch(text):
        raise Failure(
            f"{path} has no token: {bounds.TOKEN_LENGTH_MIN} to {bounds.TOKEN_LENGTH_MAX} letters, digits or any of "
            "._~+/=-",
            ExitCode.USAGE,
            hint=f"(umask 077; openssl rand -hex 32 > {path})",
        )
    return text


@click.command(cls=Command)
@click.argument("pools", nargs=-1, metavar="[POOL]...")
@click.option(
    "--port",
    type=whole_number(0, 65535),
    default=bounds.PORT,
    metavar="NUMBER",
    help=f"The port [{bounds.PORT}]; 0: any.",
)
@click.option("--address", default="127.0.0.1", metavar="ADDRESS", help="Where to listen [127.0.0.1].")
@click.option("--expose", is_flag=True, help="Listen on an address that other machines reach; TLS is a proxy's work.")
@click.option(
    "--host", "hosts", multiple=True, type=_host, metavar="NAME", help="A name by which browsers reach it; repeatable."
)
@click.option("--token-file", metavar="FILE", help="The token, in a file that only you may read [a random one].")
@click.option("--allow-changes", is_flag=True, help="Also release, withdraw, change capacities and quotas.")
@pass_app
def dashboard(
    app: App,
    *,
    pools: tuple[str, ...],
    port: int,
    address: str,
    expose: bool,
    hosts: tuple[str, ...],
    token_file: str | None,
    allow_changes: bool,
) -> ExitCode:
    r"""Serve a page that shows pools as they change, until Ctrl-C or SIGTERM.

    \b
    resource-allocator dashboard                       # all pools under the prefix
    resource-allocator dashboard lab gpu --port 8080   # these two

    It prints the address to open, with the token that each request needs.  An inspector's rights are enough (see
    'acl'), except with --allow-changes.  While a server is away the page says so.
    """
    if not address:
        raise click.BadParameter("it is empty, and would be every address: write 0.0.0.0", param_hint="'--address'")
    if not is_loopback(address) and not expose:
        raise click.UsageError(
            f"other machines reach {address}, by HTTP that everybody on the way can read: --expose allows for it"
        )
    named = named_pools(app, pools, bounds.POOLS_MAX)
    token = secrets.token_urlsafe(bounds.TOKEN_BYTES) if token_file is None else _token_in(token_file)
    own = () if address in _EVERY_ADDRESS else (address,)
    rules = Rules(token, (*own, *hosts), allow_changes)
    try_pools(app, named, "the page says so")
    try:
        listening = listen(address, port)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(address, port, error) from error
    with listening:
        _tell(app, named, rules, url_of(address, listening.getsockname()[1]), token_file)
        if not is_loopback(address):
            _warn(app, address, hosts)
        ended = asyncio.run(_serve(app, named, rules, listening))
    return ExitCode.INTERRUPTED if ended is signal.SIGINT else ExitCode.OK


def _tell(app: App, named: tuple[str, ...], rules: Rules, url: str, token_file: str | None) -> None:
    """Print where the page is; a token of a file is not printed, as whoever has set it knows it."""
    where = f"{url}/" if token_file is not None else f"{url}/#token={rules.token}"
    show(app, View(document("Dashboard", url=where), lambda _: where, [where]))
    may = "it may change them" if rules.allow_changes else "read-only"
    asks = "" if token_file is None else f"; it asks for the token of {token_file}"
    app.note(f"dashboard of {', '.join(named) or 'all pools'} ({may}){asks}; Ctrl-C ends it")


def _warn(app: App, address: str, hosts: tuple[str, ...]) -> None:
    app.note(
        f"warning: {address} is reached by other machines, and this is plain HTTP: token and data can be read on the "
        "way.  Put a proxy with TLS before it."
    )
    if address in _EVERY_ADDRESS and not hosts:
        app.note("warning: only the names localhost, 127.0.0.1 and [::1] are answered: --host adds those of browsers")


async def _serve(app: App, named: tuple[str, ...], rules: Rules, listening: socket.socket) -> signal.Signals:
    client = app.connect_async(timeout=min(app.timeout, bounds.READ_TIMEOUT_S), allow_eviction=True)
    made = Dashboard(client, app.client(allow_eviction=True), rules, named, app.prefix, app.timeout)
    return await serve(made, listening)
