"""`metrics`: parses, refuses what could never be served, and serves until it is stopped."""

from __future__ import annotations

import errno
import os
import signal
import threading
from typing import Final

import click

from allocator import Allocator, BackendError, BackendUnavailable
from allocator.apps.cli import arguments
from allocator.apps.cli.arguments import whole_number
from allocator.apps.cli.context import App, Command, pass_app
from allocator.apps.cli.errors import Failure
from allocator.apps.exporter.exporter import Exporter
from allocator.metrics import PoolCollector
from allocator.metrics.bounds import POOLS_MAX, SCOPES
from allocator.settings import PAGE_RECORDS_MAX

__all__ = ["metrics"]

PORT: Final = 9893
"""The port that nobody has to name."""

AUDIT_MIN_S: Final = 60.0
"""Seconds between two audits: each reads every record."""

_FOR_GOOD: Final = frozenset({"no_permission", "auth", "no_extra", "eviction"})
"""Codes of errors that no waiting ends."""

_OF_THE_PORT: Final = frozenset({errno.EADDRINUSE, errno.EACCES})
"""Why one cannot listen, where another port helps."""


def _interval(text: str) -> float:
    """Parse the interval of audits."""
    seconds = arguments.duration(text)
    if seconds < AUDIT_MIN_S:
        raise click.BadParameter(f"{text} is too often: at least {AUDIT_MIN_S:.0f}s")
    return seconds


@click.command(cls=Command)
@click.argument("pools", nargs=-1, metavar="[POOL]...")
@click.option("--port", type=whole_number(0, 65535), default=PORT, metavar="NUMBER", help=f"The port [{PORT}]; 0: any.")
@click.option("--address", default="127.0.0.1", metavar="ADDRESS", help="Where to listen [127.0.0.1].")
@click.option(
    "--scopes",
    type=whole_number(0, PAGE_RECORDS_MAX),
    default=SCOPES,
    metavar="NUMBER",
    help=f"Scopes of each pool that have metrics, by name [{SCOPES}].",
)
@click.option("--audit-every", type=_interval, metavar="DURATION", help="Audit each pool so often [never].")
@pass_app
def metrics(app: App, pools: tuple[str, ...], port: int, address: str, scopes: int, audit_every: float | None) -> None:
    r"""Serve the metrics of pools to Prometheus, until Ctrl-C or SIGTERM.

    \b
    resource-allocator metrics --port 9893             # all pools under the prefix
    resource-allocator metrics lab gpu --scopes 20     # these two

    An inspector's rights are enough (see 'acl').  While a server is away allocator_up is 0.  Whoever reaches the port
    reads names of pools and scopes: leave it on a private address.
    """
    if not address:
        raise click.BadParameter("it is empty, and would be every address: write 0.0.0.0", param_hint="'--address'")
    named = tuple(dict.fromkeys(one for one in (*pools, app.named_pool) if one is not None))
    if len(named) > POOLS_MAX:
        raise click.UsageError(f"more than {POOLS_MAX} pools are named: start another exporter for the rest")
    client = app.client(allow_eviction=True)
    collector = PoolCollector(client, named, scopes=scopes, server=True)
    with Exporter(client, collector, discovers=not named, audit_s=audit_every) as exporter:
        _try(app, client, named, exporter)
        try:
            served = exporter.serve(address, port)
        except (OSError, UnicodeError) as error:  # a name that DNS cannot have is the latter
            number = error.errno if isinstance(error, OSError) and error.errno else 0
            named_by = "--port" if number in _OF_THE_PORT else "--address"
            why = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
            raise Failure(f"cannot listen on {address} port {port}: {why}", hint=f"{named_by} names another") from error
        host = f"[{address}]" if ":" in address else address
        app.note(f"metrics of {', '.join(named) or 'all pools'} at http://{host}:{served}/metrics (Ctrl-C ends it)")
        _until_stopped()


def _try(app: App, client: Allocator, named: tuple[str, ...], exporter: Exporter) -> None:
    """Read once, so that a wrong name or a missing right is an error now.  A server that is away may come."""
    try:
        for name in named:
            client.pools.usage(name)
        if not named:
            exporter.discover()
    except BackendUnavailable as error:
        fault: BackendError | None = error
    else:
        fault = exporter.fault
    if fault is not None and fault.code in _FOR_GOOD:
        raise fault
    if fault is not None:
        app.note(f"warning: {fault}; allocator_up is 0 until it answers")


def _until_stopped() -> None:
    """Wait for SIGTERM, or Ctrl-C."""
    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        stopped.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
