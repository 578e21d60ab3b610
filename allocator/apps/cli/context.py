"""The context of all commands: the common options, the client, and the two streams.

The common options may stand before or after the command (`--pool gpu list` and `list --pool gpu`).  The last one given
counts, and it overrides the environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from allocator import environment, settings
from allocator.apps.cli import arguments
from allocator.errors import AllocatorError

if TYPE_CHECKING:
    from allocator import Allocator, AsyncAllocator

__all__ = [
    "POOL",
    "SENTENCE_MAX",
    "SHARED",
    "App",
    "Command",
    "Group",
    "at_terminal",
    "colored",
    "confirmed",
    "is_dumb",
    "pass_app",
]

FORMATS: Final = ("table", "wide", "json", "yaml", "name")

SENTENCE_MAX: Final = 100
"""Characters of the first sentence of a command's help."""

COMPLETION_TIMEOUT_S: Final = 1.0
"""Seconds that a press of TAB may take."""

SILENCE_S: Final = 1.0
"""Seconds after which a command that has printed nothing says what it waits for."""

_EMBEDDED: Final = "embedded://"

_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9_.-]+(?::[0-9]+)?(?:/[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?(?:/[0-9]+)?", re.ASCII
)
"""What somebody writes who leaves out the scheme of a URL: host, host:port, host:port/database."""


class App:
    """One run of the command line: the common options, and the client that they configure."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.pool = "default"
        self.prefix = settings.PREFIX_DEFAULT
        self.timeout = settings.DEADLINE_S
        self.output = "table"
        self.no_headers = False
        self.quiet = False
        self.verbose = False
        self._client: Allocator | None = None
        self._silence: threading.Timer | None = None
        self._named: dict[str, str] = {}

    @property
    def address(self) -> str:
        """The URL in use, with its password: for connecting, never for output."""
        return _EMBEDDED if self.url is None else self.url

    @property
    def shown_address(self) -> str:
        """The URL in use, without its credentials."""
        from allocator import redact_url  # noqa: PLC0415 - `--help` does without the clients

        return redact_url(self.address)

    @property
    def format(self) -> str:
        """The output format: `--quiet` is `-o name`, unless a format for programs is given."""
        return "name" if self.quiet and self.output in ("table", "wide") else self.output

    def client(self, *, allow_eviction: bool = False) -> Allocator:
        """The client, made at the first use, closed with the command.  Nothing is connected before its first call."""
        if self._client is None:
            if self.url is None and not environment.url_is_required():
                self.note(f"no --url, ALLOCATOR_REDIS_URL or REDIS_URL: using {_EMBEDDED}, this user's own server")
            self._client = self.connect(allow_eviction=allow_eviction)
            root = click.get_current_context().find_root()
            root.call_on_close(self._client.close)
            root.call_on_close(self.end_silence)
            self._begin_silence()
        return self._client

    def name_pool(self, name: str, by: str = "POOL") -> None:
        """Use this pool, which the command line names by the argument `POOL` or the option `--pool`.

        Raises:
            click.UsageError: both name one, and not the same.
        """
        for other, named in self._named.items():
            if other != by and named != name:
                raise click.UsageError(f"two pools are named, {named[:64]!a} and {name[:64]!a}: give one")
        self._named[by] = name
        self.pool = name

    @property
    def named_pool(self) -> str | None:
        """The pool that the command line itself names, not the environment; None if it names none."""
        return self.pool if self._named else None

    def _begin_silence(self) -> None:
        if self.quiet:
            return
        line = f"waiting for {self.shown_address}, up to {self.timeout:g} s for each call (Ctrl-C ends it)"
        self._silence = threading.Timer(SILENCE_S, self._break_silence, [line])
        self._silence.daemon = True
        self._silence.start()

    def _break_silence(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads stderr any more
            self.note(line)

    def end_silence(self) -> None:
        """Something is printed, asked or begun: nobody has to be told that the command waits for the server."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def connect(self, *, timeout: float | None = None, allow_eviction: bool = False) -> Allocator:
        """A new client, which the caller closes.

        Args:
            timeout: seconds for each call in all; None: `--timeout`.
            allow_eviction: also on a server that may evict records: to read, not to allocate.
        """
        from allocator import Allocator  # noqa: PLC0415 - `--help` does without the clients

        return Allocator.from_url(self.address, **self._options(timeout, allow_eviction))

    def connect_async(self, *, timeout: float | None = None, allow_eviction: bool = False) -> AsyncAllocator:
        """The same as `connect`, with the asyncio client."""
        from allocator import AsyncAllocator  # noqa: PLC0415

        return AsyncAllocator.from_url(self.address, **self._options(timeout, allow_eviction))

    def _options(self, timeout: float | None, allow_eviction: bool) -> dict[str, Any]:
        """The arguments of a client."""
        if self.url is None and environment.url_is_required():
            raise click.UsageError(
                f"no server is named, and {environment.REQUIRE_URL_VARIABLE} says that one is required: "
                f"give --url, or set {environment.URL_VARIABLES[0]}"
            )
        deadline = self.timeout if timeout is None else timeout
        return {
            "pool": self.pool,
            "prefix": self.prefix,
            "timeout": deadline,
            "attempt_timeout": min(settings.ATTEMPT_TIMEOUT_S, deadline),
            "allow_eviction": allow_eviction,
        }

    def complete(self, begun: str, names: Callable[[Allocator], Iterable[str]]) -> list[str]:
        """The names that begin with this text; none if the server does not reply at once."""
        if self.url is None:
            return []  # the embedded server would have to be started for it
        return sorted({name for name in self._ask_briefly(names) if name.startswith(begun)})

    def names_of_pools(self) -> list[str]:
        """The names of the pools, for a hint; none if the server does not reply at once."""
        return self._ask_briefly(lambda client: client.pools.list())

    def names_of_scopes(self) -> list[str]:
        """The scopes of the pool, for a hint; none if the server does not reply at once."""
        return self._ask_briefly(lambda client: [item.scope for item in client.quotas.list()])

    def _ask_briefly(self, names: Callable[[Allocator], Iterable[str]]) -> list[str]:
        try:
            with self.connect(timeout=COMPLETION_TIMEOUT_S) as client:
                return list(names(client))
        except AllocatorError:
            return []

    def note(self, message: str) -> None:
        """Write a message that is not data to stderr, unless `--quiet`."""
        if not self.quiet:
            self.end_silence()
            click.echo(message, err=True)


pass_app = click.make_pass_decorator(App, ensure=True)


def at_terminal() -> bool:
    """Whether the command runs at a terminal, so that it can ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str) -> bool:
    """Ask on stderr, as stdout is for data; any answer but yes is no."""
    click.get_current_context().ensure_object(App).end_silence()
    click.echo(f"{question} [y/N]: ", err=True, nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def colored() -> bool:
    """Whether to colour stdout: at a capable terminal without NO_COLOR (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and not is_dumb()


def is_dumb() -> bool:
    """Whether the terminal takes no escape codes, as that of an editor or of a serial line."""
    return os.environ.get("TERM", "dumb" if os.name == "posix" else "") in ("dumb", "unknown")


def _remember_pool(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Store the pool; one of the environment is only a default."""
    app = context.ensure_object(App)
    if value is not None and context.get_parameter_source(option.name or "") is click.core.ParameterSource.COMMANDLINE:
        app.name_pool(value, "POOL" if isinstance(option, click.Argument) else "--pool")
    elif value is not None:
        app.pool = value
    return value


def _remember(context: click.Context, option: click.Parameter, value: Any) -> Any:
    if value is not None and option.name:
        setattr(context.ensure_object(App), option.name, value)
    return value


def _remember_url(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Store the URL; an empty one is refused, as it is probably an unset variable: `--url "$NOT_SET"`.

    An empty environment variable does not reach this function: it counts as unset.
    """
    if value == "" and not context.resilient_parsing:
        raise click.BadParameter("it is empty; leave it out, or name the server")
    if value and "://" not in value and not context.resilient_parsing:
        meant = f"redis://{value}" if _ADDRESS.fullmatch(value) else "redis://HOST:PORT"
        raise click.BadParameter(f"it does not say how to connect: write {meant}")
    return str(_remember(context, option, value)) if value else None


def _pools(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """The names of pools that begin with this text."""
    return context.ensure_object(App).complete(begun, lambda client: client.pools.list())


POOL: Final = click.argument(
    "pool_name",
    metavar="[POOL]",
    required=False,
    expose_value=False,
    callback=_remember_pool,
    shell_complete=_pools,
)
"""The argument POOL of a command about one pool; `--pool` names it as well."""


def _shared(*, from_environment: bool) -> list[click.Parameter]:
    """The common options; only the root's read the environment, so that an option before the command beats it."""

    def option(
        *names: str, help: str, envvar: list[str] | None = None, callback: Any = _remember, **more: Any
    ) -> click.Option:
        return click.Option(
            names,
            help=help,
            envvar=envvar if from_environment else None,
            expose_value=False,
            callback=callback,
            default=None,
            **more,
        )

    variables = " or ".join(environment.URL_VARIABLES)
    return [
        option(
            "--url",
            metavar="URL",
            envvar=list(environment.URL_VARIABLES),
            callback=_remember_url,
            help=f"The server [{variables}; {_EMBEDDED}].",
        ),
        option(
            "--pool",
            metavar="NAME",
            envvar=["ALLOCATOR_POOL"],
            callback=_remember_pool,
            shell_complete=_pools,
            help="The pool [ALLOCATOR_POOL; default].",
        ),
        option("--prefix", metavar="TEXT", help=f"The prefix of all keys [{settings.PREFIX_DEFAULT}]."),
        option(
            "--timeout",
            type=arguments.timeout,
            metavar="SECONDS",
            help=f"Time for each call, at most {settings.DEADLINE_MAX_S:.0f} [{settings.DEADLINE_S:.0f}].",
        ),
        option("-o", "--output", type=click.Choice(FORMATS), help="How to print [table]."),
        option("--no-headers", is_flag=True, help="Leave out the headers of tables."),
        option("-q", "--quiet", is_flag=True, help="Names only, and no notes on stderr."),
        option("-v", "--verbose", is_flag=True, help="Show the traceback of an error."),
    ]


SHARED: Final = ("url", "pool", "prefix", "timeout", "output", "no_headers", "quiet", "verbose")
"""The names of the common options."""


def _format_options(command: click.Command, context: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options of a command, then the common ones."""
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for option in command.get_params(context):
        record = option.get_help_record(context) if isinstance(option, click.Option) else None
        if record is not None:
            (common if option.name in SHARED else own).append(record)
    for title, records in (("Options", own), ("Common options, before or after the command", common)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


class Command(click.Command):
    """A command that also has the common options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Click's mark for a paragraph that is not wrapped; in the raw docstrings it is two characters.
        self.help = self.help and self.help.replace("\\b\n", "\b\n")
        self.params.extend(_shared(from_environment=False))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the two lists of options."""
        _format_options(self, ctx, formatter)


class Group(click.Group):
    """A group of such commands; its options are the common ones."""

    command_class = Command
    reads_environment = False
    other_words: Mapping[str, str] = {}
    """Words of other programs for a command of this group, and what it is called here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_shared(from_environment=self.reads_environment))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of their definition: from common to rare."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; the error for a word that is none names the one that was probably meant."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-") and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            meant = self.other_words.get(word.lower()) or arguments.closest(word, [*known, *self.other_words])
            meant = self.other_words.get(meant, meant)
            raise click.UsageError(f"No such command {word[:64]!a}.{f' Did you mean {meant!r}?' if meant else ''}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the whole first sentence of each command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(SENTENCE_MAX)) for name, one in self.commands.items()])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands before the options."""
        self.format_commands(ctx, formatter)
        _format_options(self, ctx, formatter)
