"""`acl`: print least-privilege users of the server."""

from __future__ import annotations

import shlex

import click

from allocator.apps.cli.context import App, Command, pass_app
from allocator.apps.cli.output import View, listing, show

__all__ = ["acl"]

ROLES = ("controller", "inspector", "cron")


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
