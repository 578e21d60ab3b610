"""`Scrape`: the metrics of the pools for Prometheus, as the exporter has them; it needs the extra `metrics`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from http import HTTPStatus

from allocator import Allocator
from allocator.apps.dashboard.pools import Pools
from allocator.apps.dashboard.problems import Problem
from allocator.distribution import install

__all__ = ["CONTENT_TYPE", "Scrape"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_TIMEOUT_S = 1.5
"""Seconds that one may take: the program can stop within two."""


class Scrape:
    """Reads the metrics in a thread, one at a time: the collector waits for its server."""

    def __init__(self, client: Allocator, pools: Pools) -> None:
        """Prepare; nothing is read, and nothing of the extra is imported.

        Args:
            client: A blocking client; it stays open.
            pools: The pools that are served.
        """
        self._client = client
        self._pools = pools
        self._collect: Callable[[tuple[str, ...], str], bytes] | None = None
        self._running: asyncio.Future[bytes] | None = None

    async def text(self) -> bytes:
        """The metrics as text.  Who asks while one is being read gets the same.

        Raises:
            Problem: The extra is not installed.
        """
        if self._running is None or self._running.done():
            if self._collect is None:
                self._collect = _collector(self._client)
            fault = "" if self._pools.fault is None else self._pools.fault.code
            self._running = _in_thread(self._collect, self._pools.names, fault)
        return await asyncio.shield(self._running)


def _collector(client: Allocator) -> Callable[[tuple[str, ...], str], bytes]:
    """The function that reads the metrics of pools."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - an extra

        from allocator.metrics import PoolCollector  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise Problem(
            HTTPStatus.NOT_IMPLEMENTED, "no_extra", f"metrics need the package {error.name}: {install('metrics')}"
        ) from None
    collector = PoolCollector(client, (), timeout=_TIMEOUT_S)
    registry = CollectorRegistry()
    registry.register(collector)

    def collect(names: tuple[str, ...], fault: str) -> bytes:
        collector.read_pools(names)
        if fault:
            collector.report_fault(fault)
        return generate_latest(registry)

    return collect


def _in_thread(
    collect: Callable[[tuple[str, ...], str], bytes], names: tuple[str, ...], fault: str
) -> asyncio.Future[bytes]:
    """Run it in a thread that does not keep the program from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def done(result: bytes | Exception) -> None:
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def run() -> None:
        result: bytes | Exception
        try:
            result = collect(names, fault)
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            result = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(done, result)

    threading.Thread(target=run, name="allocator-scrape", daemon=True).start()
    return future
