"""`completion bash|zsh|fish`, and the names that completion offers."""

from __future__ import annotations

from itertools import islice
from typing import Final

import click

from allocator.apps.cli.context import App, Command
from allocator.apps.cli.program import PROGRAM

__all__ = ["completion", "ids", "scopes", "waiters"]

IDS_MAX: Final = 1_000
"""Live allocations that completion reads."""

_VARIABLE: Final = f"_{PROGRAM.upper().replace('-', '_')}_COMPLETE"


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    r"""Print the completion script of a shell.

    \b
    bash   eval "$(resource-allocator completion bash)"              in ~/.bashrc
    zsh    eval "$(resource-allocator completion zsh)"               in ~/.zshrc
    fish   resource-allocator completion fish | source               in ~/.config/fish/config.fish

    Commands and options are completed, and with a --url or ALLOCATOR_REDIS_URL the names of pools, scopes
    and allocations.
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - few need it

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, PROGRAM, _VARIABLE).source().rstrip("\n"))


def ids(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """The ids of live allocations that begin with this text, among the first `IDS_MAX`."""
    app = context.ensure_object(App)
    return app.complete(begun, lambda client: (item.id for item in islice(client.list(), IDS_MAX)))


def waiters(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """The ids that begin with this text and for which somebody waits, among the first `IDS_MAX`."""
    app = context.ensure_object(App)
    return app.complete(begun, lambda client: (item.id for item in client.queue.list(limit=IDS_MAX)))


def scopes(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """The scopes of the pool that begin with this text."""
    app = context.ensure_object(App)
    return app.complete(begun, lambda client: (item.scope for item in client.quotas.list()))
