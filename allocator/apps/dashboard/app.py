"""The application: its routes, and the endpoints that read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from allocator import AllocatorError, UnknownAllocation, UnknownPool
from allocator.apps.cli import serializers
from allocator.apps.dashboard import bounds, documents
from allocator.apps.dashboard.arguments import Query, body, event_cursor, integer_of, quantities, text_of, truth_of
from allocator.apps.dashboard.changes import Changes
from allocator.apps.dashboard.feed import Feeds
from allocator.apps.dashboard.openapi import openapi
from allocator.apps.dashboard.problems import Problem, of_error, reply
from allocator.apps.dashboard.readings import Readings
from allocator.apps.dashboard.scrape import CONTENT_TYPE, Scrape
from allocator.apps.dashboard.security import Guard, Rules
from allocator.apps.dashboard.static_files import StaticFiles
from allocator.apps.dashboard.stream import Stream
from allocator.distribution import version
from allocator.settings import PAGE_RECORDS_MAX
from allocator.validation import priority_number, ttl_ms

__all__ = ["API", "make_app"]

API: Final = "/api/v1"


class Api:
    """The endpoints that read."""

    def __init__(self, readings: Readings, feeds: Feeds, scrape: Scrape, rules: Rules, prefix: str) -> None:
        """Prepare; nothing is read."""
        self._readings = readings
        self._pools = readings.pools
        self._feeds = feeds
        self._scrape = scrape
        self._rules = rules
        self._prefix = prefix

    async def about(self, request: Request) -> Response:
        """What this dashboard is and serves."""
        Query(request)
        await self._pools.known(bounds.READ_TIMEOUT_S)
        fault = self._pools.fault
        return reply(
            documents.document(
                "Dashboard",
                version=version(),
                allowChanges=self._rules.allow_changes,
                prefix=self._prefix,
                pools=list(self._pools.names),
                poolsLeftOut=self._pools.left_out,
                error=None if fault is None else {"code": fault.code, "message": str(fault)},
            )
        )

    async def pools(self, request: Request) -> Response:
        """The usage of each pool."""
        Query(request)
        await self._pools.known(bounds.READ_TIMEOUT_S)
        if self._pools.fault is not None and not self._pools.names:
            raise self._pools.fault
        turns = asyncio.Semaphore(bounds.POOLS_AT_ONCE)

        async def read(name: str) -> dict[str, Any]:
            async with turns:
                try:
                    return serializers.usage(await self._readings.usage(name))
                except AllocatorError as error:
                    return documents.failed(name, error)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read(name)) for name in self._pools.names]
        items = [task.result() for task in tasks]
        return reply(documents.document("UsageList", items=items, leftOut=self._pools.left_out))

    async def usage(self, request: Request) -> Response:
        """The usage of one pool."""
        Query(request)
        return reply((await self._readings.usage(request.path_params["pool"])).to_dict())

    async def allocations(self, request: Request) -> Response:
        """A page of the allocations."""
        pool = request.path_params["pool"]
        query = Query(request, "owner", "scope", "q", "sort", "limit", "cursor")
        wanted = documents.Filter(query.text("owner"), query.text("scope"), query.text("q"))
        sort = query.one_of("sort", documents.SORTS, "age")
        limit = query.number("limit", bounds.ROWS, most=bounds.ROWS_MAX)
        cursor = query.text("cursor", most=2_048)
        reading = await self._readings.allocations(pool)
        key = f"list {wanted} {sort} {limit} {cursor}"
        return reply(reading.derive(key, lambda: documents.allocations(pool, reading, wanted, sort, limit, cursor)))

    async def allocation(self, request: Request) -> Response:
        """One allocation, with its story."""
        Query(request)
        pool, name = request.path_params["pool"], request.path_params["id"]
        item, now_ms, events = await self._readings.story(pool, name)
        if item is None:
            raise UnknownAllocation(f"no live allocation {name} in pool {pool}", id=name)
        story = [serializers.event(one) for one in events]
        return reply(documents.document("Allocation", **serializers.allocation(item, now_ms), events=story))

    async def groups(self, request: Request) -> Response:
        """What each owner or scope has."""
        pool, query = request.path_params["pool"], Query(request, "by", "limit")
        by = query.one_of("by", ("owner", "scope"), "owner")
        limit = query.number("limit", bounds.ROWS, most=bounds.ROWS_MAX)
        reading = await self._readings.allocations(pool)
        return reply(reading.derive(f"groups {by} {limit}", lambda: documents.groups(pool, reading, by, limit)))

    async def timeline(self, request: Request) -> Response:
        """What frees up when."""
        pool, query = request.path_params["pool"], Query(request, "from", "to", "rows")
        since, until = query.instant_ms("from", 0), query.instant_ms("to", 0)
        rows = query.number("rows", bounds.ROWS, least=0, most=bounds.ROWS_MAX)
        reading = await self._readings.allocations(pool)
        key = f"timeline {since} {until} {rows}"
        return reply(reading.derive(key, lambda: documents.timeline(pool, reading, since, until, rows)))

    async def history(self, request: Request) -> Response:
        """What the pool had over time."""
        query = Query(request, "since", "resolution")
        since_s = query.number("since", bounds.HISTORY_S, least=bounds.HISTORY_MIN_S, most=bounds.HISTORY_MAX_S)
        resolution = query.one_of("resolution", ("60", "3600", ""), "")
        reading = await self._readings.history(
            request.path_params["pool"], since_s, int(resolution) if resolution else None
        )
        return reply(reading.to_dict())

    async def queue(self, request: Request) -> Response:
        """Who waits."""
        Query(request)
        pool = request.path_params["pool"]
        return reply(documents.line(pool, await self._readings.line(pool)))

    async def quotas(self, request: Request) -> Response:
        """The tree of scopes."""
        Query(request)
        pool = request.path_params["pool"]
        return reply(documents.scopes(pool, await self._readings.scopes(pool)))

    async def events(self, request: Request) -> Response:
        """Events after a cursor; without one, the latest."""
        pool, query = request.path_params["pool"], Query(request, "since", "limit")
        since = query.text("since")
        limit = query.number("limit", bounds.ROWS, most=PAGE_RECORDS_MAX)
        events = self._pools.client(pool).events
        if since:
            found = await events.since(event_cursor(since), limit=limit)
        else:
            found = (await events.list(limit=limit))[::-1]
        return reply(documents.events(pool, found, since or "0"))

    async def check(self, request: Request) -> Response:
        """Whether a request would be granted now, and when it may be."""
        Query(request)
        client = self._pools.client(request.path_params["pool"])
        given = await body(request, "resources", "scope", "priority", "preempt", "maxLifetime", "ttl")
        resources = quantities(given.get("resources"), "resources")
        if given.get("ttl") is not None:
            ttl_ms(given["ttl"])  # a check does not depend on it
        priority = integer_of(given, "priority") or 0
        answer = await client.check(
            resources,
            explain=True,
            scope=text_of(given, "scope"),
            priority=priority_number(priority),
            preempt=truth_of(given, "preempt"),
            max_lifetime=given.get("maxLifetime"),
        )
        return reply(answer.to_dict())

    async def stream(self, request: Request) -> Response | Stream:
        """What happens in a pool, as it happens."""
        query = Query(request, "pool", "since")
        pool, since = query.text("pool"), query.text("since")
        if since:
            event_cursor(since)
        try:
            await self._readings.usage(pool)
        except UnknownPool:
            raise
        except AllocatorError:
            self._pools.client(pool)  # a wrong name is an error; of a server that is away the stream says so
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return Stream(self._feeds, self._readings, pool, since)

    async def openapi(self, request: Request) -> Response:
        """The description of this interface."""
        Query(request)
        return reply(openapi())

    async def health(self, request: Request) -> Response:
        """Whether the server of the pools does its work; everybody may ask, so it says no more than that."""
        Query(request)
        try:
            await self._readings.health()
        except AllocatorError as error:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, error.code, "the server of the pools does not answer as it should"
            ) from error
        return reply({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """The metrics of the pools."""
        Query(request)
        return Response(await self._scrape.text(), headers={"Content-Type": CONTENT_TYPE})


async def _on_library_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AllocatorError)
    return of_error(error).response()


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    return Problem(status, status.name.lower(), status.phrase, headers=error.headers).response()


async def _on_bug(_: Request, error: Exception) -> Response:
    del error  # it is logged; the answer says nothing of it
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "this is a bug of the dashboard").response()


def make_app(api: Api, changes: Changes, files: StaticFiles, rules: Rules) -> Guard:
    """The application, guarded by the rules."""
    of_pool = f"{API}/pools/{{pool}}"
    reads: list[tuple[str, Callable[[Request], Awaitable[Any]]]] = [
        ("/", files.page),
        ("/favicon.ico", files.icon),
        ("/static/{path:path}", files.part),
        ("/healthz", api.health),
        ("/metrics", api.metrics),
        (API, api.about),
        (f"{API}/openapi.json", api.openapi),
        (f"{API}/stream", api.stream),
        (f"{API}/pools", api.pools),
        (of_pool, api.usage),
        (f"{of_pool}/allocations", api.allocations),
        (f"{of_pool}/allocations/{{id:path}}", api.allocation),
        (f"{of_pool}/timeline", api.timeline),
        (f"{of_pool}/history", api.history),
        (f"{of_pool}/queue", api.queue),
        (f"{of_pool}/quotas", api.quotas),
        (f"{of_pool}/groups", api.groups),
        (f"{of_pool}/events", api.events),
    ]
    routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in reads]
    routes += [
        Route(f"{of_pool}/check", api.check, methods=["POST"]),
        Route(f"{of_pool}/allocations/{{id:path}}/release", changes.release, methods=["POST"]),
        Route(of_pool, changes.set_capacity, methods=["PATCH"]),
        Route(f"{of_pool}/quotas/{{scope:path}}", changes.set_quota, methods=["PUT"]),
        Route(f"{of_pool}/queue/{{id:path}}/withdraw", changes.withdraw, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {
        AllocatorError: _on_library_error,
        Problem: _on_problem,
        HTTPException: _on_http_error,
        Exception: _on_bug,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, rules)
