"""OpenTelemetry: spans and metrics of what clients do; it needs the extra `otel`, which is the API alone.

::

    from allocator.telemetry import instrument

    instrument(allocator)      # a client, blocking or awaited

Spans and metrics go to the providers that the program has set, or to those that are given.  Where there are none, the
API does nothing with them.  docs/tracing.md has the names.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from allocator._base import Client
from allocator._engine.execution.instrumentation import (
    ClientState,
    ObservedBatch,
    ObservedCall,
    ObservedRenewal,
    Observer,
)
from allocator.distribution import install, version
from allocator.errors import AllocatorError

_INSTALLED: Final = find_spec("opentelemetry") is not None

if TYPE_CHECKING or _INSTALLED:
    from opentelemetry import context, metrics, trace
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import Span, TracerProvider

__all__ = ["TelemetryObserver", "instrument"]

_log: Final = logging.getLogger("allocator.telemetry")

_NAME: Final = "allocator"
_SYSTEM: Final = {"db.system.name": "redis"}

_CALL_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WAIT_S: Final = (0.1, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400, 604_800)
_ITEMS: Final = (1, 2, 5, 10, 20, 50, 100)
_AGE: Final = (0.1, 0.2, 0.34, 0.37, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
"""The buckets that are advised: those of the metrics for Prometheus."""

_NO_ERROR: Final = frozenset({"granted", "ok", "denied", "unchanged", "mixed"})
"""The outcomes of spans without an error: a full pool is an answer."""


def instrument(
    *clients: Client[Any],
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> bool:
    """Trace and measure what these clients do, until they are closed.

    Args:
        clients: Blocking and awaited ones.
        tracer_provider: The provider of spans; None: the program's.
        meter_provider: The provider of metrics; None: the program's.  For many clients of other providers make one
            `TelemetryObserver`, and pass it to `client.observe`.

    Returns:
        False where the API is not installed: then nothing is traced, which is logged once.
    """
    if not _INSTALLED:
        _log.warning("nothing is traced: opentelemetry is missing: %s", install("otel"))
        return False
    own = tracer_provider is not None or meter_provider is not None
    observer = TelemetryObserver(tracer_provider, meter_provider) if own else _of_the_program()
    for client in clients:
        client.observe(observer)
    return True


@cache
def _of_the_program() -> TelemetryObserver:
    """One observer for all clients of the program's providers, which may be set later; it stays."""
    return TelemetryObserver()


class TelemetryObserver(Observer):
    """Makes a span of each call, with its retries as events, and of each batch, and records the metrics.

    The span of a call is the current one while it runs.  A script call with items of several calls is a span of its
    own, without a parent, that links to theirs.  One observer serves any number of clients.
    """

    def __init__(
        self, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        """Use these providers; None: the program's.

        Raises:
            ModuleNotFoundError: The API is not installed; the message says which extra has it.
        """
        if not _INSTALLED:
            raise ModuleNotFoundError(f"allocator.telemetry needs the package opentelemetry: {install('otel')}")
        self._states: list[Callable[[], ClientState | None]] = []
        self._tracer = trace.get_tracer(_NAME, version(), tracer_provider)
        meter = metrics.get_meter(_NAME, version(), meter_provider)
        histogram, counter = meter.create_histogram, meter.create_counter
        prefix = "allocator.client."
        self._calls = histogram(
            prefix + "call.duration",
            "s",
            "How long calls took, retries included, time in line not.",
            explicit_bucket_boundaries_advisory=_CALL_S,
        )
        self._waits = histogram(
            prefix + "wait.duration",
            "s",
            "How long requests that waited were in line.",
            explicit_bucket_boundaries_advisory=_WAIT_S,
        )
        self._batches = histogram(
            prefix + "batch.items",
            "{item}",
            "Items of each script call of a batch.",
            explicit_bucket_boundaries_advisory=_ITEMS,
        )
        self._ages = histogram(
            prefix + "renewal.age",
            "1",
            "The part of the ttl that was over when a renewal was confirmed.",
            explicit_bucket_boundaries_advisory=_AGE,
        )
        self._errors = counter(prefix + "errors", "{call}", "Calls that failed, by the code; denials are none.")
        self._retries = counter(prefix + "retries", "{attempt}", "Attempts that failed and were repeated.")
        self._undos = counter(prefix + "undos", "{call}", "Calls whose outcome no caller received.")
        self._renewals = counter(prefix + "renewals", "{renewal}", "Renewals of holds.")
        self._lost = counter(prefix + "leases.lost", "{lease}", "Leases that holds have lost.")
        for name, unit, said, read in (
            ("undos.pending", "{call}", "Calls that are queued to be undone.", self._read_undos),
            ("holds", "{hold}", "Holds whose block runs.", self._read_holds),
            ("connections", "{connection}", "Open connections that serve calls.", self._read_connections),
        ):
            meter.create_observable_up_down_counter(prefix + name, [read], unit, said)

    # -- spans ---------------------------------------------------------------------------------------------------------

    def client_added(self, read: Callable[[], ClientState | None]) -> None:
        """Read its state as well from now on."""
        self._states = [*(one for one in self._states if one() is not None), read]

    def call_started(self, call: ObservedCall) -> None:
        """Begin a span, and make it the current one."""
        span = self._tracer.start_span(
            f"allocator.{call.verb}", kind=SpanKind.CLIENT, attributes={**_SYSTEM, "allocator.verb": call.verb}
        )
        call.state = {**(call.state or {}), self: (span, context.attach(trace.set_span_in_context(span)))}

    def call_retried(self, call: ObservedCall, cause: str, delay_s: float) -> None:
        """Add an event to the span, and count it."""
        self._retries.add(1, {"allocator.verb": call.verb, "allocator.cause": cause})
        if (span := self._span(call)) is not None:
            span.add_event("retry", {"allocator.cause": cause, "allocator.delay": delay_s})

    def call_ended(self, call: ObservedCall) -> None:
        """End the span, and record the call."""
        code = _code(call)
        about = {"allocator.verb": call.verb, "allocator.outcome": call.outcome}
        span, token = (call.state or {}).pop(self, (None, None))
        if token is not None:
            context.detach(token)
        if span is not None:
            if span.is_recording():
                span.set_attributes({**about, "allocator.retries": call.retries, **_server(call.server)})
                if call.pool:
                    span.set_attribute("allocator.pool", call.pool)
                if call.waited_s is not None:
                    span.set_attribute("allocator.waited", call.waited_s)
                if code:
                    span.set_attribute("error.type", code)
                    span.set_status(Status(StatusCode.ERROR, str(call.error)))
            span.end()
        within = None if span is None else trace.set_span_in_context(span)  # so that exemplars name the span
        self._calls.record(call.duration_s, about, within)
        if call.waited_s is not None:
            self._waits.record(call.waited_s, {"allocator.outcome": call.outcome}, within)
        if code:
            self._errors.add(1, {"allocator.verb": call.verb, "error.type": code})

    def batch_sent(self, batch: ObservedBatch) -> None:
        """Make a span of a script call with several items, and record how many."""
        self._batches.record(batch.items, {"db.stored_procedure.name": batch.script})
        members = [span for one in batch.calls if (span := self._span(one)) is not None and span.is_recording()]
        if batch.items < 2 or not members:
            return
        ends = time.time_ns()
        alone = len(batch.calls) == 1
        span = self._tracer.start_span(
            f"EVALSHA {batch.script}",
            trace.set_span_in_context(members[0]) if alone else context.Context(),
            SpanKind.CLIENT,
            {
                **_SYSTEM,
                **_server(batch.calls[0].server),
                "db.operation.name": "EVALSHA",
                "db.stored_procedure.name": batch.script,
                "db.operation.batch.size": batch.items,
                "allocator.pool": batch.pool,
            },
            None if alone else [Link(one.get_span_context()) for one in members],
            ends - int(batch.duration_s * 1e9),
        )
        if batch.error is not None:
            span.set_attribute("error.type", batch.error.code)
            span.set_status(Status(StatusCode.ERROR, str(batch.error)))
        span.end(ends)

    def _span(self, call: ObservedCall) -> Span | None:
        span: Span | None = (call.state or {}).get(self, (None,))[0]
        return span

    # -- metrics -------------------------------------------------------------------------------------------------------

    def undos_changed(self, pool: str, change: str, count: int) -> None:
        """Count the undos."""
        self._undos.add(count, {"allocator.change": change})

    def lease_renewed(self, renewal: ObservedRenewal) -> None:
        """Count the renewal, and how old its lease was."""
        self._renewals.add(1, {"allocator.outcome": renewal.outcome})
        if renewal.outcome in ("on_time", "late"):
            self._ages.record(renewal.age_s / renewal.ttl_s)

    def lease_lost(self, pool: str, code: str) -> None:
        """Count the loss."""
        self._lost.add(1, {"allocator.code": code})

    def _read(self) -> list[ClientState]:
        return [state for read in self._states if (state := read()) is not None]

    def _read_undos(self, _: CallbackOptions) -> Iterable[Observation]:
        yield metrics.Observation(sum(one.undos for one in self._read()))

    def _read_holds(self, _: CallbackOptions) -> Iterable[Observation]:
        yield metrics.Observation(sum(one.holds for one in self._read()))

    def _read_connections(self, _: CallbackOptions) -> Iterable[Observation]:
        states = self._read()
        used = sum(one.connections_used for one in states)
        yield metrics.Observation(sum(one.connections for one in states) - used, {"allocator.state": "idle"})
        yield metrics.Observation(used, {"allocator.state": "used"})


def _code(call: ObservedCall) -> str:
    """The code of what went wrong; "" if nothing did."""
    if call.error is None or call.outcome in _NO_ERROR:
        return ""
    return call.error.code if isinstance(call.error, AllocatorError) else type(call.error).__name__


def _server(address: str) -> dict[str, str | int]:
    """The attributes of a server's address."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "," not in address:
        return {"server.address": host.strip("[]"), "server.port": int(port)}
    return {"server.address": address} if address else {}
