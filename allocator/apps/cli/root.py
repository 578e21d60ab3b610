"""The root group: it imports a command on use, and converts every exception to a message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final, NoReturn, TextIO

import click

from allocator.apps.cli.arguments import closest
from allocator.apps.cli.context import SHARED, App, Group, at_terminal
from allocator.apps.cli.errors import ExitCode, Failure, ReaderGone, exit_code, hint, message
from allocator.apps.cli.output import printable
from allocator.apps.cli.program import PROGRAM, missing_extra
from allocator.distribution import version
from allocator.errors import AllocatorError, UnknownPool, UnknownScope

__all__ = ["COMMANDS", "root"]

_CLI: Final = "allocator.apps.cli"

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("allocator.apps.demo.command:demo", "Watch replicas, or a class of students, share a pool."),
    "pool": (f"{_CLI}.pools:pool", "Make, show and change pools."),
    "allocate": (f"{_CLI}.allocations:allocate", "Allocate resources, all of them or none."),
    "run": ("allocator.apps.run.command:run", "Run a command while an allocation is held."),
    "renew": (f"{_CLI}.allocations:renew", "Extend the deadline of allocations."),
    "resize": (f"{_CLI}.allocations:resize", "Change what an allocation holds."),
    "release": (f"{_CLI}.allocations:release", "End allocations and give back what they hold."),
    "move": (f"{_CLI}.quotas:move", "Charge an allocation to another scope."),
    "begin-release": (f"{_CLI}.allocations:begin_release", "Begin a release, and keep the charge for a grace period."),
    "check": (f"{_CLI}.usage:check", "Say whether a request would be granted now."),
    "list": (f"{_CLI}.allocations_list:list_", "List the allocations of a pool."),
    "describe": (f"{_CLI}.allocations_list:describe", "Show one allocation in full."),
    "quota": (f"{_CLI}.quotas:quota", "Limit what teams and people may have of a pool."),
    "queue": (f"{_CLI}.queue:queue", "Show who waits in line for room, and take requests out."),
    "usage": (f"{_CLI}.usage:usage", "Show how full a pool is."),
    "top": ("allocator.apps.top.command:top", "Show a pool on the whole terminal, live."),
    "events": (f"{_CLI}.events:events", "Show what changed in a pool, and why."),
    "cleanup": (f"{_CLI}.maintenance:cleanup", "Take back what is past its deadline (the cron job)."),
    "reconcile": (f"{_CLI}.maintenance:reconcile", "Release the allocations that an owner no longer has."),
    "audit": (f"{_CLI}.maintenance:audit", "Check a pool's counters, and repair them if asked."),
    "doctor": (f"{_CLI}.maintenance:doctor", "Check a server for use, and say what to change."),
    "acl": (f"{_CLI}.servers:acl", "Print Redis users (ACL) with the least rights for each role."),
    "redis-cli": (f"{_CLI}.servers:redis_cli", "Print the redis-cli commands that show a pool by hand."),
    "metrics": ("allocator.apps.exporter.command:metrics", "Serve the metrics of pools to Prometheus."),
    "dashboard": ("allocator.apps.dashboard.command:dashboard", "Serve a page that shows pools as they change."),
    "embedded": (f"{_CLI}.servers:embedded", "Show or stop this user's embedded server."),
    "completion": (f"{_CLI}.completion:completion", "Print the completion script of a shell."),
}
"""Name -> (module:attribute, the line in `--help`), so that help imports none of them."""

OTHER_WORDS: Final = {
    "acquire": "allocate",
    "alloc": "allocate",
    "create": "pool create",
    "delete": "release",
    "extend": "renew",
    "free": "release",
    "gc": "cleanup",
    "get": "describe",
    "help": "--help",
    "log": "events",
    "ls": "list",
    "pools": "pool list",
    "queues": "queue list",
    "quotas": "quota list",
    "prune": "cleanup",
    "ps": "list",
    "reclaim": "cleanup",
    "rm": "release",
    "show": "describe",
    "status": "usage",
    "tree": "quota tree",
    "users": "acl",
    "version": "--version",
    "wait": "run --wait",
    "waiting": "queue list",
    "withdraw": "queue withdraw",
}
"""What other programs call a command, and what it is called here."""

_EPILOG: Final = (
    "\b\nExit codes: 0 done (or yes), 1 error, 2 wrong usage or input, 3 denied (or no:\n"
    "check, audit), 4 not found, 5 server unreachable, 6 outcome unknown, 130 Ctrl-C,\n"
    "141 the reader of the output is gone; 'run --help' has those of run."
)


_UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a write if the disk space or the terminal is gone; they are not bugs."""


class _Warnings(logging.Handler):
    """Writes the library's warnings, one line each, to stderr, unless `--quiet`."""

    def __init__(self, app: App) -> None:
        super().__init__(logging.WARNING)
        self._app = app

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; `pool create` itself says in what an existing pool differs."""
        if record.name == "allocator.pools":
            return
        self._app.note(f"{record.levelname.lower()}: {' '.join(record.getMessage().split())}")


class Root(Group):
    """The group of all commands."""

    reads_environment = True
    other_words = OTHER_WORDS

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table; no command is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in COMMANDS.items()])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse; `--help` and `--version` print here."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; where nobody reads its output any more it ends without a word, with its own exit code."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run, and exit with the exit code."""
        app = extra.setdefault("obj", App())
        log, told = logging.getLogger("allocator"), _Warnings(app)
        log.addHandler(told)
        try:
            result: object = super().main(
                args, prog_name, complete_var, standalone_mode=False, windows_expand_args=windows_expand_args, **extra
            )
        except Exception as error:  # noqa: BLE001 - any error is reported in one line instead of a traceback
            result = _tell(error, app)
        finally:
            log.removeHandler(told)
        sys.exit(int(result) if isinstance(result, int) and not isinstance(result, bool) else ExitCode.OK)


def _tell(error: Exception, app: App) -> int:
    """Report an error on stderr, in one line and a hint; returns the exit code."""
    if isinstance(error, click.Abort):
        return ExitCode.INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, ReaderGone):
        _give_up_unwritten()
        return error.code
    if app.verbose and not isinstance(error, click.ClickException):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    code, text, advice = _understood(error, app)
    with contextlib.suppress(OSError):  # stderr itself may not be writable; the exit code is returned nevertheless
        click.echo(f"error: {printable(' '.join(text.split()))}", err=True)
        if advice and not app.quiet:
            click.echo(f"hint: {advice}", err=True)
    _give_up_unwritten()
    return code


def _give_up_unwritten() -> None:
    """Drop unwritten output: the interpreter would try to flush it at exit, fail, and exit with 120."""
    streams: tuple[TextIO | None, ...] = (sys.stdout, sys.stderr)  # None where the descriptor was closed
    for stream in streams:
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _understood(error: Exception, app: App) -> tuple[int, str, str]:
    """The exit code, the message, and the hint or ""."""
    if isinstance(error, AllocatorError):
        return exit_code(error), message(error, app.pool), _advice(error, app)
    if isinstance(error, Failure):
        return error.code, error.message, error.hint
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx is not None else PROGRAM
        return error.exit_code, error.format_message(), f"see '{command} --help'"
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message(), ""
    known = missing_extra(error) or _unwritable(error)
    if known:
        return ExitCode.ERROR, known, ""
    advice = "" if app.verbose else "--verbose shows the traceback; please report it"
    return ExitCode.ERROR, f"unexpected {type(error).__name__}: {error}", advice


def _advice(error: AllocatorError, app: App) -> str:
    """The hint for an error; at a terminal, for an unknown pool or scope, also the one that was probably meant."""
    advice = hint(error, app.shown_address)
    if isinstance(error, UnknownPool) and at_terminal():
        meant = closest(error.pool, app.names_of_pools())
        advice = f"was {meant} meant? {advice}" if meant else advice
    if isinstance(error, UnknownScope) and at_terminal():
        meant = closest(error.scope, app.names_of_scopes())
        advice = f"was {meant} meant? {advice}" if meant else advice
    return advice


def _unwritable(error: Exception) -> str:
    """The message for output that could not be written; "" for other errors."""
    if not isinstance(error, OSError) or error.errno not in _UNWRITABLE or error.filename is not None:
        return ""
    return f"cannot write: {os.strerror(error.errno)}"


def _start(context: click.Context) -> None:
    """Pass the URL and the format given before it to `demo`; not the environment's URL, as the demo causes load.

    Raises:
        click.UsageError: another option is given before it, which the demo would not obey.
    """
    app = context.ensure_object(App)
    given = {name for name in SHARED if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    passed = {"url": app.url if "url" in given else None, "output": app.output}
    context.default_map = {"demo": {name: text for name, text in passed.items() if name in given}}
    ignored = [name for name in SHARED if name in given and name not in passed]
    if context.invoked_subcommand == "demo" and ignored:
        option = ignored[0].replace("_", "-")
        raise click.UsageError(f"demo takes no --{option}: of the common options it has --url and -o")


root = Root(
    name=PROGRAM,
    help="Share one pool of CPU, memory and other resources among several controllers, through one Redis.",
    epilog=_EPILOG,
    callback=click.pass_context(_start),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(f"{PROGRAM} {version()}")
        context.exit()


root.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_version,
        help="Show the version and exit.",
    )
)
