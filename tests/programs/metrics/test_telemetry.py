"""OpenTelemetry: spans of calls and batches, their attributes and links, the instruments, and no SDK or no API."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from allocator import AsyncAllocator, BackendUnavailable, OutcomeUnknown, Request
from allocator.metrics import CLIENT_METRICS
from allocator.telemetry import TelemetryObserver, _server, instrument
from allocator.testing import faults, memory_allocator, memory_async_allocator, wait_undone

INSTRUMENTS: Final = {
    "call.duration", "wait.duration", "batch.items", "renewal.age", "errors", "retries", "undos", "renewals",
    "leases.lost", "undos.pending", "holds", "connections",
}  # fmt: skip


class Told:
    """What a program's exporters get."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.providers: dict[str, Any] = {"tracer_provider": self.tracers, "meter_provider": self.meters}

    def finished(self, name: str) -> list[ReadableSpan]:
        return [one for one in self.spans.get_finished_spans() if one.name == name]

    def points(self) -> dict[str, list[Any]]:
        data: Any = self.reader.get_metrics_data()
        found = [one for each in data.resource_metrics for scope in each.scope_metrics for one in scope.metrics]
        return {one.name: list(one.data.data_points) for one in found}


@pytest.fixture
def told() -> Iterator[Told]:
    """Providers of a test, and what they were given."""
    told = Told()
    yield told
    told.tracers.shutdown()
    told.meters.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_each_call_is_a_span_with_its_outcome(told: Told) -> None:
    """Of the kind client, within the caller's; a denial is no error."""
    client = memory_allocator({"cpu": 4})
    assert instrument(client, **told.providers)
    with told.tracers.get_tracer("a program").start_as_current_span("request") as request:
        client.allocate({"cpu": 1}, ttl=60)
        assert trace.get_current_span() is request
    assert not client.try_allocate({"cpu": 40}, ttl=60)
    (span,) = told.finished("allocator.allocate")
    assert span.kind is SpanKind.CLIENT
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id
    about = attributes(span)
    assert about.pop("server.address").startswith("memory")
    assert about == {
        "db.system.name": "redis", "allocator.verb": "allocate", "allocator.pool": "test",
        "allocator.outcome": "granted", "allocator.retries": 0,
    }  # fmt: skip
    (denied,) = told.finished("allocator.try_allocate")
    assert attributes(denied)["allocator.outcome"] == "denied"
    assert denied.status.status_code is StatusCode.UNSET


def test_retries_are_events_and_an_unknown_outcome_is_an_error(told: Told) -> None:
    """With the codes of the errors."""
    client = memory_allocator({"cpu": 4})
    instrument(client, **told.providers)
    with faults(client).lost_reply("allocate"):
        client.allocate({"cpu": 1}, ttl=60)
    (span,) = told.finished("allocator.allocate")
    assert [(one.name, dict(one.attributes or {})["allocator.cause"]) for one in span.events] == [
        ("retry", "unavailable")
    ]
    assert attributes(span)["allocator.retries"] == 1
    told.spans.clear()
    with faults(client).unknown("allocate"), pytest.raises(OutcomeUnknown):
        client.allocate({"cpu": 1}, ttl=60)
    (span,) = told.finished("allocator.allocate")
    assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "outcome_unknown")
    assert wait_undone(client)
    assert [point.attributes for point in told.points()["allocator.client.retries"]] == [
        {"allocator.verb": "allocate", "allocator.cause": "unavailable"}
    ]
    changes = {point.attributes["allocator.change"]: point.value for point in told.points()["allocator.client.undos"]}
    assert changes == {"queued": 1, "done": 1}


async def test_a_batch_of_several_calls_links_to_their_spans(told: Told) -> None:
    """And belongs to none of their traces."""
    async with memory_async_allocator({"cpu": 100}) as client:
        instrument(client, **told.providers)
        await asyncio.gather(*(client.allocate({"cpu": 1}, ttl=60) for _ in range(20)))
    calls = {one.context.span_id for one in told.finished("allocator.allocate") if one.context is not None}
    batches = told.finished("EVALSHA allocate")
    linked = [link.context.span_id for one in batches for link in one.links]
    assert len(calls) == 20
    assert batches
    assert set(linked) <= calls
    assert len(linked) == len(set(linked)) == sum(attributes(one)["db.operation.batch.size"] for one in batches)
    for one in batches:
        assert (one.parent, one.kind) == (None, SpanKind.CLIENT)
        assert attributes(one)["db.stored_procedure.name"] == "allocate"
        assert attributes(one)["allocator.pool"] == "test"
        assert (one.start_time or 0) <= (one.end_time or 0)


def test_the_script_calls_of_one_call_are_its_children(told: Told) -> None:
    """Each has at most a hundred items."""
    client = memory_allocator({"cpu": 4})
    instrument(client, **told.providers)
    client.allocate_many([Request({"cpu": "1m"}, ttl=60)] * 150)
    (call,) = told.finished("allocator.allocate_many")
    parts = told.finished("EVALSHA allocate")
    assert sum(attributes(one)["db.operation.batch.size"] for one in parts) == 150
    assert call.context is not None
    assert {one.parent.span_id if one.parent else None for one in parts} == {call.context.span_id}


async def test_the_spans_of_concurrent_tasks_do_not_mix(told: Told) -> None:
    """Each is within its task's, also if calls share a script call."""
    tracer = told.tracers.get_tracer("a program")
    async with memory_async_allocator({"cpu": 100}) as client:
        instrument(client, **told.providers)

        async def work(number: int) -> None:
            with tracer.start_as_current_span(f"task {number}") as span:
                await client.release(await client.allocate({"cpu": 1}, ttl=60))
                assert trace.get_current_span() is span

        await asyncio.gather(*(work(number) for number in range(10)))
    for number in range(10):
        (task,) = told.finished(f"task {number}")
        within = [
            one.name
            for one in told.spans.get_finished_spans()
            if one.parent is not None and task.context is not None and one.parent.span_id == task.context.span_id
        ]
        assert within == ["allocator.allocate", "allocator.release"]


def test_the_instruments_are_those_of_the_document(told: Told) -> None:
    """As many as for Prometheus; the gauges read the client."""
    assert len(INSTRUMENTS) == len(CLIENT_METRICS)
    client = memory_allocator({"cpu": 4})
    instrument(client, **told.providers)
    with client.hold({"cpu": 1}, ttl=60):
        points = told.points()
        assert [point.value for point in points["allocator.client.holds"]] == [1]
    assert {name.removeprefix("allocator.client.") for name in points} <= INSTRUMENTS
    (call,) = [
        point for point in points["allocator.client.call.duration"] if point.attributes["allocator.verb"] == "hold"
    ]
    assert (call.count, call.attributes["allocator.outcome"]) == (1, "granted")
    assert call.explicit_bounds == CLIENT_METRICS["allocator_client_call_duration_seconds"].bounds


def test_a_store_that_is_down_is_an_error_with_its_code(told: Told) -> None:
    """The span has the message, and no secret."""
    client = memory_allocator({"cpu": 4})
    instrument(client, **told.providers)
    with faults(client).down(), pytest.raises(BackendUnavailable):
        client.pools.get()
    (span,) = told.finished("allocator.pools.get")
    assert attributes(span)["error.type"] == "unavailable"
    assert attributes(span)["allocator.outcome"] == "unavailable"


def test_the_address_is_split_where_it_is_one_server() -> None:
    """Sentinels, clusters and sockets have no port of their own."""
    assert _server("redis.example:6379") == {"server.address": "redis.example", "server.port": 6379}
    assert _server("[::1]:6379") == {"server.address": "::1", "server.port": 6379}
    assert _server("/run/redis.sock") == {"server.address": "/run/redis.sock"}
    assert _server("a:1,b:2") == {"server.address": "a:1,b:2"}


def test_clients_of_the_programs_providers_share_one_observer() -> None:
    """So a program that makes many clients registers its instruments once."""
    one, other = memory_allocator({"cpu": 1}), memory_allocator({"cpu": 1})
    instrument(one)
    instrument(other)
    assert one._instruments.observers == other._instruments.observers
    assert isinstance(one._instruments.observers[0], TelemetryObserver)
    one.pools.get()  # there is no SDK: nothing happens
    one.close()
    other.close()


def test_without_the_api_nothing_is_traced_and_the_warning_names_the_extra() -> None:
    """A program that asks for traces runs on."""
    code = """
import sys
sys.modules["opentelemetry"] = None
from allocator import Allocator
from allocator.telemetry import TelemetryObserver, instrument
client = Allocator.from_url("memory://", pool="lab")
assert instrument(client) is False
client.pools.create("lab", {"cpu": 1})
TelemetryObserver()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.count("pip install 'redis-resource-allocator[otel]'") == 2
    assert "ModuleNotFoundError: allocator.telemetry needs" in ran.stderr


def test_an_awaited_client_is_instrumented_the_same_way(told: Told) -> None:
    """Before there is a loop."""
    client = AsyncAllocator.from_url("memory://", pool="lab")
    assert instrument(client, **told.providers)
