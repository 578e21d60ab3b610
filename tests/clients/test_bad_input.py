"""What a caller gets wrong is said before anything is sent: nobody listens where these clients point.

Had anything been sent, or only a connection been made, the error would be `BackendUnavailable`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from allocator import (
    Allocator,
    AsyncAllocator,
    BackendUnavailable,
    InvalidQuantity,
    InvalidRequest,
    Limit,
    Request,
    Resources,
    ResourceUnits,
)
from tests.support import clients

LONG = "x" * 600
GOOD = {"cpu": 1}
NO_QUANTITIES: list[Any] = [
    *("", " ", "one", "-1", "-0.5", "1 Gi", "1Gib", "Gi", "+", ".", "1e", "nan", "inf", "0x10", "1_000", "1\n"),
    *("\uff11", "\u0663", "9" * 33, "1e400", "9223372036854775808", 10**40),
    *(-1, -0.1, math.nan, math.inf, -math.inf, True, None, b"1", [1]),
]
Attempt = Callable[[Any], Awaitable[object]]


@pytest.fixture
async def nowhere(kind: str) -> AsyncIterator[AsyncAllocator]:
    """A client of a server that is not there."""
    client = clients.connect(kind, "unix:///nonexistent/server.sock", timeout=0.05)
    yield client
    await client.close()


async def refused(nowhere: AsyncAllocator, attempt: Attempt) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        await attempt(nowhere)
    message = str(caught.value)
    assert len(message) < 400, "the offending text is cut"
    assert message.isascii()
    assert message.isprintable()
    return caught.value


@pytest.mark.parametrize("quantity", NO_QUANTITIES, ids=repr)
async def test_quantities_that_are_none_are_refused_by_name(nowhere: AsyncAllocator, quantity: Any) -> None:
    """In a request, a check, a resize and a capacity alike; `field` is the resource."""
    for attempt in (
        lambda c: c.allocate({"memory": "1Gi", "cpu": quantity}, ttl=60),
        lambda c: c.try_allocate({"cpu": quantity}, ttl=60),
        lambda c: c.allocate_many([Request(GOOD, 60), Request({"cpu": quantity}, 60)]),
        lambda c: c.check({"cpu": quantity}),
        lambda c: c.resize("a", {"cpu": quantity}),
        lambda c: c.pools.create("lab", {"cpu": quantity}),
        lambda c: c.pools.update(None, {"cpu": quantity}),
    ):
        error = await refused(nowhere, attempt)
        assert isinstance(error, InvalidQuantity)
        assert (error.field, error.code) == ("cpu", "invalid_quantity")


async def test_a_memory_number_that_lacks_its_suffix_is_asked_about(nowhere: AsyncAllocator) -> None:
    """`512` is 512 bytes, and hardly meant."""
    error = await refused(nowhere, lambda c: c.allocate({"memory": 512}, ttl=60))
    assert "512Mi" in str(error)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "{}",
        "a{b}",
        "cpu\n",
        "c pu",
        "é",
        "-cpu",
        "cpu-",
        "a/b/c",
        "UPPER.case/gpu",
        "a" * 64,
        "x" * 129,
        1,
        None,
        b"cpu",
    ],
    ids=repr,
)
async def test_resources_with_impossible_names_are_refused(nowhere: AsyncAllocator, name: Any) -> None:
    """`field` is `resource`, and the message shows the name, cut."""
    for attempt in (
        lambda c: c.allocate({name: 1}, ttl=60),
        lambda c: c.pools.create("lab", {name: 1}),
        lambda c: c.pools.create("lab", GOOD, whole_units=[name]),
        lambda c: c.pools.update(remove=[name]),
        lambda c: c.pools.update(units={name: ResourceUnits(1)}),
        lambda c: c.resize("a", {name: 1}),
    ):
        assert (await refused(nowhere, attempt)).field == "resource"


@pytest.mark.parametrize(
    "name", ["", "{lab}", "a{b", "lab\n", "a b", "é", "-lab", "a:b", "a/b", "x" * 65, LONG, 1, b"lab"], ids=repr
)
async def test_pools_with_impossible_names_are_refused(nowhere: AsyncAllocator, name: Any) -> None:
    """A brace would move its keys to another slot, a newline would slip into a log."""
    for attempt in (
        lambda c: c.pools.create(name, GOOD),
        lambda c: c.pools.delete(name),
        lambda c: c.pools.get(name),
        lambda c: c.pools.upgrade(name),
        lambda c: c.options(pool=name).allocate(GOOD, ttl=60),
        lambda c: c.options(pool=name).allocate_many([Request(GOOD, 60)]),
        lambda c: c.options(pool=name).release("a"),
        lambda c: c.options(pool=name).renew_many(["a"]),
        lambda c: c.pools.usage(name),
        lambda c: c.options(pool=name).maintenance.reclaim(),
        lambda c: c.options(pool=name).maintenance.audit(),
        lambda c: c.options(pool=name).events.list(),
    ):
        assert (await refused(nowhere, attempt)).field == "pool"


@pytest.mark.parametrize("name", ["", "a{b}", "a\n", "a b", "é", "/a", ":a", LONG, "x" * 513, 1, b"a"], ids=repr)
async def test_ids_and_owners_with_impossible_names_are_refused(nowhere: AsyncAllocator, name: Any) -> None:
    """Up to 512 characters, so that `namespace/name/uid` fits."""
    for field, attempt in (
        ("id", lambda c: c.allocate(GOOD, ttl=60, id=name)),
        ("owner", lambda c: c.allocate(GOOD, ttl=60, owner=name)),
        ("id", lambda c: c.allocate_many([Request(GOOD, 60, id=name)], atomic=True)),
        ("owner", lambda c: c.allocate_many([Request(GOOD, 60, owner=name)])),
        ("id", lambda c: c.release(name)),
        ("id", lambda c: c.renew(name)),
        ("id", lambda c: c.resize(name, GOOD)),
        ("id", lambda c: c.get(name)),
        ("id", lambda c: c.release_many(["a", name])),
        ("id", lambda c: c.renew_many(["a", name])),
    ):
        error = await refused(nowhere, attempt)
        assert error.field == field


@pytest.mark.parametrize(
    "ttl",
    [0, 0.999, -1, 31 * 86_400, 10 * 366 * 86_400, math.nan, math.inf, "60", True, timedelta(0), timedelta(days=365)],
    ids=repr,
)
async def test_times_to_live_out_of_bounds_are_refused(nowhere: AsyncAllocator, ttl: Any) -> None:
    """One second to thirty days; None pins."""
    for attempt in (
        lambda c: c.allocate(GOOD, ttl=ttl),
        lambda c: c.allocate_many([Request(GOOD, ttl)]),
        lambda c: c.renew("a", ttl=ttl),
        lambda c: c.renew_many(["a"], ttl=ttl),
        lambda c: c.renew_many([], ttl=ttl),
    ):
        assert (await refused(nowhere, attempt)).field == "ttl"


@pytest.mark.parametrize(
    ("field", "attempt"),
    [
        ("request", lambda c: c.allocate({}, ttl=60)),
        ("request", lambda c: c.allocate({"cpu": 0}, ttl=60)),
        ("request", lambda c: c.allocate("cpu=1", ttl=60)),
        ("request", lambda c: c.allocate({f"r{n}": 1 for n in range(33)}, ttl=60)),
        ("request", lambda c: c.check({f"r{n}": 1 for n in range(33)})),
        ("request", lambda c: c.resize("a", {})),
        ("request", lambda c: c.resize("a", {f"r{n}": 1 for n in range(33)})),
        ("request", lambda c: c.resize("a", "cpu=1")),
        ("capacity", lambda c: c.pools.create("lab", {})),
        ("capacity", lambda c: c.pools.create("lab", {f"r{n}": 1 for n in range(33)})),
        ("capacity", lambda c: c.pools.create("lab", None)),
        ("capacity", lambda c: c.pools.update(None, {f"r{n}": 1 for n in range(33)})),
        ("capacity", lambda c: c.pools.update()),
        ("whole_units", lambda c: c.pools.create("lab", GOOD, whole_units=["memory"])),
        ("whole_units", lambda c: c.pools.create("lab", GOOD, whole_units="cpu")),
        ("units", lambda c: c.pools.create("lab", GOOD, units=["cpu"])),
        ("units", lambda c: c.pools.update(units={f"r{n}": ResourceUnits(1) for n in range(33)})),
        ("units.cpu", lambda c: c.pools.update(units={"cpu": 1})),
        ("units.cpu.reserved", lambda c: c.pools.update(units={"cpu": ResourceUnits("two")})),
        ("units.cpu.min_unit", lambda c: c.pools.update(units={"cpu": ResourceUnits(min_unit=-1)})),
        ("units.cpu.max_unit", lambda c: c.pools.update(units={"cpu": ResourceUnits(max_unit="1e999")})),
        ("units.cpu.step", lambda c: c.pools.update(units={"cpu": ResourceUnits(step=True)})),
        ("units.cpu.overcommit_permille", lambda c: c.pools.update(units={"cpu": ResourceUnits(0, 15_001)})),
        ("units.cpu.overcommit_permille", lambda c: c.pools.update(units={"cpu": ResourceUnits(0, -1)})),
        ("units.cpu.overcommit_permille", lambda c: c.pools.update(units={"cpu": ResourceUnits(0, 1.5)})),
        ("units.cpu.overcommit_permille", lambda c: c.pools.update(units={"cpu": ResourceUnits(0, True)})),
        ("capacity", lambda c: c.pools.update(units={"cpu": ResourceUnits()})),
        ("remove", lambda c: c.pools.update(None, GOOD, remove=["cpu"])),
        ("remove", lambda c: c.pools.update(remove="cpu")),
        ("generation", lambda c: c.pools.update(None, GOOD, generation=0)),
        ("generation", lambda c: c.pools.update(None, GOOD, generation="1")),
        ("metadata", lambda c: c.allocate(GOOD, ttl=60, metadata={"text": "x" * 5120})),
        ("metadata", lambda c: c.allocate(GOOD, ttl=60, metadata={f"k{n}": "x" * 1024 for n in range(5)})),
        ("metadata", lambda c: c.allocate(GOOD, ttl=60, metadata={f"k{n}": "" for n in range(17)})),
        ("metadata", lambda c: c.allocate(GOOD, ttl=60, metadata={"a{b}": ""})),
        ("metadata", lambda c: c.allocate(GOOD, ttl=60, metadata={"cpu.allocated": "1"})),
        ("metadata", lambda c: c.allocate(GOOD, ttl=60, metadata={"a": 1})),
        ("metadata", lambda c: c.allocate(GOOD, ttl=60, metadata={"a": "\ud800"})),
        ("metadata", lambda c: c.allocate(GOOD, ttl=60, metadata="text")),
        ("requests", lambda c: c.allocate_many([Request(GOOD, 60)] * 10_001)),
        ("requests", lambda c: c.allocate_many([GOOD])),
        ("requests", lambda c: c.allocate_many([5], atomic=True)),
        ("requests", lambda c: c.allocate_many([Request(GOOD, 60)] * 101, atomic=True)),
        ("allocations", lambda c: c.release_many(["a"] * 10_001)),
        ("allocations", lambda c: c.renew_many("abc")),
        ("fence", lambda c: c.release("a", fence=0)),
        ("fence", lambda c: c.renew("a", fence=-1)),
        ("fence", lambda c: c.resize("a", GOOD, fence=2**53)),
        ("limit", lambda c: c.events.list(limit=0)),
        ("limit", lambda c: c.events.list(limit=501)),
        ("limit", lambda c: c.quotas.list(limit=0)),
        ("limit", lambda c: c.maintenance.reclaim(limit=0)),
        ("limit", lambda c: c.maintenance.reclaim(limit=10_001)),
        ("older_than", lambda c: c.maintenance.reclaim(older_than=-1)),
        ("older_than", lambda c: c.maintenance.reclaim(older_than=math.nan)),
        ("older_than", lambda c: c.maintenance.reclaim(include_live=True)),
        ("offline", lambda c: c.maintenance.audit(offline=True)),
    ],
)
async def test_other_arguments_out_of_bounds_are_refused_by_field(
    nowhere: AsyncAllocator, field: str, attempt: Attempt
) -> None:
    """Whatever the verb: one typed error, with the name of what is wrong."""
    assert (await refused(nowhere, attempt)).field == field


SCOPES: list[Any] = [
    *("", "/", "a/", "/a", "a//b", "a/*", "*", "a b", "a{b}", "a:b", "-a", ".", "..", "a/..", "é", "a\n", "quota:a"),
    *("/".join("a" * 9), "x" * 129, LONG, 1, b"a", True),
]


@pytest.mark.parametrize("scope", SCOPES, ids=repr)
async def test_scopes_with_impossible_names_are_refused(nowhere: AsyncAllocator, scope: Any) -> None:
    """Empty parts, wildcards, nine levels, more than 128 characters: `field` is `scope`, whatever the verb."""
    for attempt in (
        lambda c: c.allocate(GOOD, ttl=60, scope=scope),
        lambda c: c.try_allocate(GOOD, ttl=60, scope=scope),
        lambda c: c.allocate_many([Request(GOOD, 60, scope=scope)]),
        lambda c: c.allocate_many([Request(GOOD, 60, scope=scope)], atomic=True),
        lambda c: c.check(GOOD, scope=scope),
        lambda c: c.move("a", scope),
        lambda c: c.quotas.set(scope, {"cpu": 1}),
        lambda c: c.quotas.get(scope),
        lambda c: c.quotas.list(scope),
        lambda c: c.quotas.tree(scope),
        lambda c: c.quotas.delete(scope),
        *([lambda c: c.pools.create("lab", GOOD, default_scope=scope)] if scope != "" else []),
    ):
        assert (await refused(nowhere, attempt)).field == "scope"


@pytest.mark.parametrize(
    "limit",
    [
        *(quantity for quantity in NO_QUANTITIES if quantity is not None),
        *(Limit(1, quantity) for quantity in (-1, "x", True)),
        *(Limit(1, None, quantity) for quantity in (-1, "x", math.nan)),
    ],
    ids=repr,
)
async def test_limits_that_are_no_quantities_are_refused_by_name(nowhere: AsyncAllocator, limit: Any) -> None:
    """The error's `field` is the resource."""
    error = await refused(nowhere, lambda c: c.quotas.set("a", {"cpu": limit}))
    assert (error.field, error.code) == ("cpu", "invalid_quantity")


async def test_other_wrong_limits_are_refused(nowhere: AsyncAllocator) -> None:
    """A limit of what is nothing's share, none at all, too many; `allocations` as a resource."""
    many = {f"r{n}": 1 for n in range(33)}
    wrong: list[Any] = [{}, many, None, "cpu=1", {"cpu": Limit(None, 1)}, {"cpu": Limit(None, None, 1)}]
    for limits in wrong:
        assert (await refused(nowhere, lambda c, one=limits: c.quotas.set("a", one))).field == "limits"
    assert (await refused(nowhere, lambda c: c.quotas.set("a", {"a/b/c": 1}))).field == "resource"
    for generation in (0, -1, "1", True, 2**53):
        attempt = lambda c, one=generation: c.quotas.set("a", GOOD, generation=one)  # noqa: E731
        assert (await refused(nowhere, attempt)).field == "generation"
    for field, attempt in (
        ("request", lambda c: c.allocate({"cpu": 1, "allocations": 1}, ttl=60)),
        ("request", lambda c: c.check({"allocations": 1})),
        ("request", lambda c: c.resize("a", {"allocations": 1})),
        ("capacity", lambda c: c.pools.create("lab", {"allocations": 1})),
        ("capacity", lambda c: c.pools.update(None, {"allocations": 1})),
        ("fence", lambda c: c.move("a", "b", fence=0)),
        ("id", lambda c: c.move("a b", None)),
    ):
        assert (await refused(nowhere, attempt)).field == field


async def test_filters_of_the_list_are_checked_when_it_is_asked_for(nowhere: AsyncAllocator) -> None:
    """Not when the first page is read."""
    for field, filters in (("owner", {"owner": "a b"}), ("older_than", {"older_than": -1})):
        with pytest.raises(InvalidRequest) as caught:
            [one async for one in nowhere.list(**filters)]
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pool", "{}"),
        ("pool", 5),
        ("owner", "a b"),
        ("durability", "sure"),
        ("timeout", 0),
        ("timeout", 61),
        ("epoch", "a b"),
        ("epoch", 5),
    ],
)
def test_options_are_checked_when_they_are_given(nowhere: AsyncAllocator, field: str, value: object) -> None:
    """The client that they were asked of stays as it is."""
    before = repr(nowhere)
    with pytest.raises(InvalidRequest) as caught:
        nowhere.options(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field
    assert repr(nowhere) == before


async def test_options_leave_what_is_not_named(nowhere: AsyncAllocator) -> None:
    """One after the other, they add up; the connections are the same."""
    other = nowhere.options(pool="gpu").options(owner="me", timeout=0.02)
    assert "pool=gpu" in repr(other)
    with pytest.raises(BackendUnavailable):
        await other.allocate({"cpu": 1}, ttl=60)
    assert "pool=gpu" not in repr(nowhere)


async def test_a_vector_has_the_same_bounds_as_a_mapping(nowhere: AsyncAllocator) -> None:
    """However it was computed: an empty one asks for nothing, and one of 33 resources is too large."""
    many = Resources.request({f"r{n}": 1 for n in range(20)}) + Resources.request({f"s{n}": 1 for n in range(20)})
    for vector in (Resources(), many):
        for attempt in (
            lambda c, v=vector: c.allocate(v, ttl=60),
            lambda c, v=vector: c.check(v),
            lambda c, v=vector: c.resize("a", v),
        ):
            assert (await refused(nowhere, attempt)).field == "request"


@pytest.mark.parametrize("cls", [Allocator, AsyncAllocator])
@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("pool", {"pool": "a b"}),
        ("owner", {"owner": "{}"}),
        ("prefix", {"prefix": "a{"}),
        ("prefix", {"prefix": "x" * 33}),
        ("prefix", {"prefix": ""}),
        ("timeout", {"timeout": 0}),
        ("timeout", {"timeout": 61}),
        ("timeout", {"timeout": math.nan}),
        ("attempt_timeout", {"attempt_timeout": 0}),
        ("attempt_timeout", {"attempt_timeout": -1}),
        ("attempt_timeout", {"attempt_timeout": math.nan}),
        ("url", {"url": "http://localhost"}),
        ("url", {"url": "redis://localhost:99999"}),
        ("url", {"url": "localhost"}),
    ],
    ids=str,
)
def test_a_client_with_impossible_settings_is_not_made(
    cls: type[Allocator | AsyncAllocator], field: str, options: Any
) -> None:
    """The constructor says so; no first call is needed to find out."""
    with pytest.raises(InvalidRequest) as caught:
        cls.from_url(**{"url": "memory://", **options})
    assert caught.value.field == field


async def test_good_input_does_reach_for_the_server(nowhere: AsyncAllocator) -> None:
    """Which is what makes the other tests of this module mean something."""
    with pytest.raises(BackendUnavailable):
        await nowhere.allocate(GOOD, ttl=60)
