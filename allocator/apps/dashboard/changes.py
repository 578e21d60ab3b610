"""Changes, where the dashboard was started with `--allow-changes`: each is one call of the library.

A conflict is an answer with both sides: what was sent, and what is there now.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast

from starlette.requests import Request
from starlette.responses import Response

from allocator import AsyncAllocator, Limit, PoolConflict, UnknownAllocation
from allocator.apps.dashboard.arguments import body, integer_of, quantities
from allocator.apps.dashboard.documents import document
from allocator.apps.dashboard.problems import Problem, of_error, reply
from allocator.apps.dashboard.readings import Readings
from allocator.errors import InvalidRequest
from allocator.serialization import read_mapping
from allocator.validation import fence as fence_number
from allocator.validation import generation_number

__all__ = ["Changes"]


_OWNER: Final = "dashboard"
"""Who makes the changes, for those who read the events: whatever a browser says of a person proves nothing."""


class Changes:
    """The endpoints that change a pool.  Who may use them is checked before (`security`)."""

    def __init__(self, readings: Readings, timeout_s: float) -> None:
        """Prepare.

        Args:
            readings: What is read of the pools; a change puts it out of date.
            timeout_s: Seconds that one change may take.
        """
        self._readings = readings
        self._timeout_s = timeout_s

    def _client(self, pool: str) -> AsyncAllocator:
        return self._readings.pools.client(pool).options(owner=_OWNER, timeout=self._timeout_s)

    async def release(self, request: Request) -> Response:
        """Release an allocation: the grant that the page shows, if it names a fence."""
        pool, name = request.path_params["pool"], request.path_params["id"]
        given = await body(request, "fence")
        fence = None if given.get("fence") is None else fence_number(given["fence"])
        client = self._client(pool)
        released = await client.release(name, fence=fence)
        self._readings.changed(pool)
        if released.outcome == "fenced":
            current = await client.get(name)
            raise Problem(
                HTTPStatus.CONFLICT,
                "fenced",
                f"{name} is another grant now: it was released and granted again meanwhile",
                sent={"fence": fence},
                current=None if current is None else current.to_dict(),
            )
        if not released:
            raise of_error(UnknownAllocation(f"no live allocation {name} in pool {pool}", id=name))
        return reply(released.to_dict())

    async def set_capacity(self, request: Request) -> Response:
        """Change the capacity of a pool of this generation."""
        pool = request.path_params["pool"]
        given = await body(request, "capacity", "generation")
        capacity = quantities(given.get("capacity"), "capacity")
        if given.get("generation") is None:
            raise InvalidRequest("generation: it is missing; the pool's configuration has it", field="generation")
        generation = generation_number(integer_of(given, "generation"))
        client = self._client(pool)
        try:
            changed = await client.pools.update(pool, capacity, generation=generation)
        except PoolConflict as error:
            current = await client.pools.get(pool)
            sent = {"capacity": capacity, "generation": generation}
            raise of_error(error, sent=sent, current=current.to_dict()) from error
        finally:
            self._readings.changed(pool)
        return reply(changed.to_dict())

    async def set_quota(self, request: Request) -> Response:
        """Create a scope, or change its limits."""
        pool, scope = request.path_params["pool"], request.path_params["scope"]
        given = await body(request, "limits", "weight", "generation")
        limits = None if given.get("limits") is None else _limits(given["limits"])
        if limits is None and "weight" not in given:
            raise InvalidRequest("limits: they are missing, and there is no weight", field="limits")
        generation = integer_of(given, "generation")
        weight = integer_of(given, "weight") if "weight" in given else ...
        quotas = self._client(pool).quotas
        try:
            changed = await quotas.set(scope, limits, weight=weight, generation=generation)
        except PoolConflict as error:
            current = await quotas.get(scope)
            raise of_error(error, sent=given, current=None if current is None else current.to_dict()) from error
        finally:
            self._readings.changed(pool)
        return reply(changed.to_dict())

    async def withdraw(self, request: Request) -> Response:
        """Take a request out of the line."""
        pool, name = request.path_params["pool"], request.path_params["id"]
        await body(request)
        client = self._client(pool)
        withdrawn = await client.queue.withdraw(name)
        self._readings.changed(pool)
        if not withdrawn:
            raise Problem(HTTPStatus.NOT_FOUND, "not_waiting", f"nobody waits for {name} in pool {pool}")
        return reply(document("Withdrawal", pool=pool, id=name, outcome="withdrawn"))


def _limits(given: Any) -> Mapping[str, Limit | str | int]:
    """Resource -> limit: a quantity, which is the most, or its parts."""
    found: dict[str, Limit | str | int] = {}
    for name, row in read_mapping(given, "limits").items():
        if isinstance(row, Mapping):
            path = f"limits.{name}"
            parts = {"nominal": "nominal", "borrowingLimit": "borrowing_limit", "lendingLimit": "lending_limit"}
            parts_given = read_mapping(cast("object", row), path)
            for part in parts_given:
                if part not in parts:
                    raise InvalidRequest(f"{path}: it has no {part[:64]!a}", field=path)
            known = {part: quantity for part, quantity in parts_given.items() if quantity is not None}
            given_parts = quantities(known, path) if known else {}
            found[name] = Limit(**{parts[part]: quantity for part, quantity in given_parts.items()})
        else:
            found |= quantities({name: row}, "limits")
    if not found:
        raise InvalidRequest("limits: they are empty", field="limits")
    return found
