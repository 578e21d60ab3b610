"""Commands about servers: their users (`acl`), a look by hand (`redis-cli`), the embedded one (`embedded`)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

import click

from allocator.apps.cli.completion import ids
from allocator.apps.cli.context import App, Command, Group, pass_app
from allocator.apps.cli.errors import ExitCode, Failure
from allocator.apps.cli.output import View, document, duration, fields, listing, show
from allocator.errors import AllocatorError
from allocator.validation import allocation_id

if TYPE_CHECKING:
    from allocator._engine.servers.embedded import EmbeddedStatus

__all__ = ["acl", "embedded", "redis_cli"]

ROLES: Final = ("controller", "inspector", "cron")

LOOK_TIMEOUT_S: Final = 1.0
"""Seconds to find an allocation for the example; the commands are printed also if the server does not reply."""

_PORT: Final = 6379
_PASSWORD: Final = "PASSWORD"  # noqa: S105 - a placeholder
_TLS_OPTIONS: Final = (("ssl_ca_certs", "--cacert"), ("ssl_certfile", "--cert"), ("ssl_keyfile", "--key"))


@click.command(cls=Command)
@click.argument("role", type=click.Choice(ROLES), required=False)
@click.option("--user", metavar="NAME", help="Its name [the role's].")
@click.option("--only", metavar="POOL", help="Only this pool's keys [all pools of --prefix].")
@click.option("--server", type=click.Choice(("7.0", "7.2", "8.0")), default="7.0", help="The oldest server [7.0].")
@click.option("--file", "as_file", is_flag=True, help="Lines of a users.acl file, instead of redis-cli commands.")
@pass_app
def acl(app: App, role: str | None, user: str | None, only: str | None, server: str, as_file: bool) -> None:
    r"""Print Redis users (ACL) with the least rights for each role, as redis-cli commands.

    \b
    controller  everything but the server's own settings
    inspector   looks, and can change nothing
    cron        cleans up

    Without a ROLE all three.  Nothing is sent to a server; put a password where PASSWORD stands.  A pool that the
    command line names by --pool is the same as --only.
    """
    if user is not None and role is None:
        raise click.UsageError(f"--user names one user: give its ROLE, one of {', '.join(ROLES)}")
    if only is not None:
        app.name_pool(only, "--only")
    from allocator import access  # noqa: PLC0415 - `--help` reads no script

    major, _, minor = server.partition(".")
    users = [
        access.user(one, name=user, prefix=app.prefix, pool=app.named_pool, server=(int(major), int(minor)))
        for one in ([role] if role else ROLES)
    ]
    lines = [one.line() if as_file else shlex.join(("redis-cli", *one.command())) for one in users]
    whole = listing("User", ({"name": one.name, "rules": list(one.rules)} for one in users))
    show(app, View(whole, lambda _: "\n".join(lines), lines))


@click.group(cls=Group, no_args_is_help=True)
def embedded() -> None:
    """Show or stop this user's embedded server.

    embedded:// is one real server per user and machine, started when it is first needed and shared by all processes.
    """


@embedded.command()
@pass_app
def status(app: App) -> ExitCode:
    """Say whether it is running, and where; it is not started.

    Exit code 3: it is not running.
    """
    now = _status()
    whole = document(
        "EmbeddedServer",
        running=now.running,
        engine=now.engine,
        version=now.version,
        pid=now.pid,
        socket=now.socket,
        folder=str(now.folder),
        uptimeSeconds=now.uptime_s,
    )
    pairs = (
        ("Status", "running" if now.running else "not running"),
        ("Engine", f"{now.engine} {now.version}"),
        ("PID", "" if now.pid is None else str(now.pid)),
        ("Uptime", "" if now.uptime_s is None else duration(now.uptime_s)),
        ("Socket", now.socket),
        ("Folder", str(now.folder)),
    )
    show(app, View(whole, lambda _: fields(pairs), [now.socket] if now.running else []))
    return ExitCode.OK if now.running else ExitCode.DENIED


@embedded.command()
@pass_app
def stop(app: App) -> None:
    """Stop it; its data are there again at the next start.

    Processes that use it start it again with their next call.
    """
    from allocator._engine.servers.embedded import stop as stop_server  # noqa: PLC0415 - as `_status`

    stopped = stop_server()
    outcome = "stopped" if stopped else "was not running"
    show(app, View(document("EmbeddedServer", stopped=stopped), lambda _: f"embedded server {outcome}"))


def socket_path() -> str:
    """The path of the embedded server's socket, also if it does not run."""
    return _status().socket


def _status() -> EmbeddedStatus:
    from allocator._engine.servers.embedded import status as server_status  # noqa: PLC0415 - other commands do without it

    return server_status()


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
        ("what it had at the end of the last minutes", ("XREVRANGE", f"{base}usage_minutes", "+", "-", "COUNT", "10")),
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
