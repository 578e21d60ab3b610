"""`metrics`: parses, refuses what could never be served, and serves until it is stopped."""

from __future__ import annotations

import signal
import threading
from typing import Final

import click

from allocator import BackendError
from allocator.apps.cli import arguments
from allocator.apps.cli.arguments import whole_number
from allocator.apps.cli.context import App, Command, pass_app
from allocator.apps.exporter.exporter import Exporter
from allocator.apps.serving import cannot_listen, named_pools, try_pools, url_of
from allocator.metrics import PoolCollector
from allocator.metrics.bounds import POOLS_MAX, SCOPES
from allocator.settings import PAGE_RECORDS_MAX

__all__ = ["metrics"]

PORT: Final = 9893
"""The port that nobody has to name."""

AUDIT_MIN_S: Final = 60.0
"""Seconds between two audits: each reads every record."""


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
    named = named_pools(app, pools, POOLS_MAX)
    client = app.client(allow_eviction=True)
    collector = PoolCollector(client, named, scopes=scopes, server=True)
    with Exporter(client, collector, discovers=not named, audit_s=audit_every) as exporter:

        def discover() -> BackendError | None:
            exporter.discover()
            return exporter.fault

        try_pools(app, named, "allocator_up is 0", discover)
        try:
            served = exporter.serve(address, port)
        except (OSError, UnicodeError) as error:
            raise cannot_listen(address, port, error) from error
        app.note(f"metrics of {', '.join(named) or 'all pools'} at {url_of(address, served)}/metrics (Ctrl-C ends it)")
        _until_stopped()


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
