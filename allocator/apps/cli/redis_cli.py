"""`redis-cli`: print commands that read a pool without this library."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import click

from allocator.apps.cli.completion import ids
from allocator.apps.cli.context import App, Command, pass_app
from allocator.apps.cli.embedded import socket_path
from allocator.apps.cli.errors import ExitCode, Failure
from allocator.apps.cli.output import View, document, show
from allocator.errors import AllocatorError
from allocator.validation import allocation_id

__all__ = ["redis_cli"]

LOOK_TIMEOUT_S: Final = 1.0
"""Seconds to find an allocation for the example; the commands are printed also if the server does not reply."""

_PORT: Final = 6379
_PASSWORD: Final = "PASSWORD"  # noqa: S105 - a placeholder
_TLS_OPTIONS: Final = (("ssl_ca_certs", "--cacert"), ("ssl_certfile", "--cert"), ("ssl_keyfile", "--key"))


@click.command("redis-cli", cls=Command)
@click.argument("id_", metavar="[ID]", required=False, shell_complete=ids)
@pass_app
def redis_cli(app: App, id_: str | None) -> None:
    """Print the redis-cli commands that show a pool by hand.

    Without an ID the record is that of some live allocation.  A password is not printed: put it into REDISCLI_AUTH.
    """
    if id_ is not None:
        allocation_id(id_)
    secret, program = _program(app.address)
    base = f"{app.prefix}:{{{app.pool}}}:"
    record = id_ or _example(app)
    commands = [
        ("the pool: capacity, allocated, generation", ("HGETALL", f"{base}pool")),
        ("one allocation", ("HGETALL", f"{base}allocation:{record}")),
        ("the next deadlines, in milliseconds since 1970", ("ZRANGE", f"{base}deadlines", "0", "9", "WITHSCORES")),
        ("the oldest that have no deadline", ("ZRANGE", f"{base}pinned", "0", "9", "WITHSCORES")),
        ("how many of either", ("ZCARD", f"{base}deadlines")),
        ("", ("ZCARD", f"{base}pinned")),
        ("the last changes", ("XREVRANGE", f"{base}events", "+", "-", "COUNT", "10")),
        ("the server's time", ("TIME",)),
    ]
    lines = [f"export REDISCLI_AUTH={_PASSWORD}"] if secret else []
    for said, words in commands:
        lines += [f"# {said}"] if said else []
        lines.append(shlex.join([*program, *words]))
    whole = document("RedisCli", passwordNeeded=secret, items=[shlex.join([*program, *words]) for _, words in commands])
    show(app, View(whole, lambda _: "\n".join(lines), [shlex.join([*program, *words]) for _, words in commands]))


def _program(url: str) -> tuple[bool, Sequence[str]]:
    """Whether a password is needed, and redis-cli with the options for the server of this URL."""
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    user = unquote(parts.username or "") or options.get("username", "")
    secret = bool(parts.password or options.get("password"))
    words = ["redis-cli"]
    match parts.scheme.replace("valkey", "redis"):
        case "redis" | "rediss" | "redis+cluster" | "rediss+cluster":
            scheme, _, cluster = parts.scheme.replace("valkey", "redis").partition("+")
            host = parts.netloc.rpartition("@")[2].split(",")[0] or f"localhost:{_PORT}"
            database = options.get("db") or parts.path.strip("/")
            words += ["-c"] if cluster else []
            words += _server(scheme, host, "" if cluster else database)
            for name, option in _TLS_OPTIONS:
                words += [option, options[name]] if scheme == "rediss" and name in options else []
        case "unix":
            words += ["-s", unquote(parts.path)]
            words += ["-n", options["db"]] if options.get("db", "0") != "0" else []
        case "embedded":
            words += ["-s", socket_path()]
        case "memory":
            raise Failure("memory:// lives inside one process: redis-cli cannot see it", ExitCode.USAGE)
        case _:
            raise Failure("this URL leads to no server that redis-cli knows", ExitCode.USAGE)
    words += ["--user", user] if user else []
    return secret, words


def _server(scheme: str, host: str, database: str) -> list[str]:
    """The options of redis-cli for a server; it does not understand a URL with an IPv6 address."""
    if not host.startswith("["):
        return ["-u", f"{scheme}://{host}{f'/{database}' if database else ''}"]
    address, _, port = host[1:].partition("]")
    words = ["-h", address, "-p", port.removeprefix(":") or str(_PORT)]
    words += ["-n", database] if database else []
    return [*words, "--tls"] if scheme == "rediss" else words


def _example(app: App) -> str:
    """The id of some live allocation, or a placeholder."""
    try:
        with app.connect(timeout=LOOK_TIMEOUT_S) as client:
            found = next(iter(client.list()), None)
    except AllocatorError as error:
        app.note(f"note: no example was found: {' '.join(str(error).split())}")
        found = None
    return "ID" if found is None else found.id
