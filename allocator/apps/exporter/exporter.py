"""`Exporter`: serves the metrics over HTTP; new pools are found, and pools audited, by a thread beside the scrapes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from allocator import Allocator, AllocatorError, BackendError, UnknownPool
from allocator.metrics import PoolCollector
from allocator.metrics.bounds import REFRESH_S, RETRY_S

__all__ = ["Exporter"]

_log: Final = logging.getLogger("allocator.metrics")

_GONE: Final = UnknownPool.default_code


class Exporter:
    """Serves the metrics of a collector while its block runs."""

    def __init__(
        self, client: Allocator, collector: PoolCollector, *, discovers: bool, audit_s: float | None = None
    ) -> None:
        """Prepare.

        Args:
            client: The client of the collector.
            collector: What is served.
            discovers: Read all pools under the client's prefix, also those that are made later.
            audit_s: Audit each pool after so many seconds; None: never.
        """
        self._client = client
        self._collector = collector
        self._discovers = discovers
        self._audit_s = audit_s
        self.fault: BackendError | None = None
        """Why the pools are not known."""
        self._stopped = threading.Event()
        self._server: WSGIServer | None = None

    def discover(self) -> float:
        """Look for pools; returns in how many seconds to look again."""
        try:
            self._collector.read_pools(self._client.pools.list())
        except BackendError as error:
            self._collector.report_fault(error.code)
            if self.fault is None or error.code != self.fault.code:
                _log.warning("the pools are not known: %s", error)
            self.fault = error
            return RETRY_S
        self.fault = None
        return REFRESH_S

    def audit(self) -> float:
        """Audit each pool; returns in how many seconds to do so again."""
        for name in self._collector.pools:
            try:
                self._collector.record_audit(self._client.options(pool=name).maintenance.audit())
            except AllocatorError as error:
                _log.warning("pool %s is not audited: %s", name, error)
        assert self._audit_s is not None
        return self._audit_s

    def serve(self, address: str, port: int) -> int:
        """Begin to serve, in threads; returns the port.  Who discovers has done so once before.

        Raises:
            OSError: The port is in use, or the address is none of this machine.
        """
        registry = CollectorRegistry()
        registry.register(self._collector)
        self._server, _ = start_http_server(port, address, registry)
        due: dict[Callable[[], float], float] = {}
        if self._discovers:
            known_s = REFRESH_S if self.fault is None else RETRY_S
            due[self.discover] = time.monotonic() + known_s
        if self._audit_s is not None:
            due[self.audit] = time.monotonic()
        if due:
            threading.Thread(target=self._keep, args=[due], name="allocator-metrics", daemon=True).start()
        return self._server.server_port

    def _keep(self, due: dict[Callable[[], float], float]) -> None:
        while not self._stopped.wait(max(0.0, min(RETRY_S, min(due.values()) - time.monotonic()))):
            if self._discovers and _GONE in self._collector.failures.values():
                due[self.discover] = time.monotonic()
            for task, at in due.items():
                if at <= time.monotonic():
                    due[task] = task() + time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
