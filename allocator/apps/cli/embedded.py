"""`embedded status|stop`: the server of this user and machine that `embedded://` starts on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from allocator.apps.cli.context import App, Group, pass_app
from allocator.apps.cli.errors import ExitCode
from allocator.apps.cli.output import View, document, duration, fields, show

if TYPE_CHECKING:
    from allocator._engine.servers.embedded import EmbeddedStatus

__all__ = ["embedded", "socket_path"]


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
