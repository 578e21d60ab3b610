"""Any public value survives pickle, copy, dict and JSON; what is no such dict is refused by the name of a field."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import allocator
from allocator import Allocation, Check, Denial, Event, InvalidRequest, Request, Resources
from allocator.models.read_only import ReadOnlyMapping
from allocator.serialization import API_VERSION, Value, restore, rfc3339
from allocator.settings import AMOUNT_MAX, ID_LENGTH_MAX
from tests.properties.public_values import VALUES, resource_names

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=30, database=None)

KINDS = pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)

WAYS: list[Callable[[Any], Any]] = [
    *(lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol)) for protocol in range(6)),
    copy.copy,
    copy.deepcopy,
    lambda value: type(value).from_dict(value.to_dict()),
    lambda value: type(value).from_dict(json.loads(json.dumps(value.to_dict()))),
    lambda value: (
        type(value).from_dict(json.loads(json.dumps({**value.to_dict(), "ofTheFuture": [1]})))
        if isinstance(value, Value)
        else value
    ),
]


def is_plain(data: object) -> bool:
    if isinstance(data, dict):
        return type(data) is dict and all(type(key) is str and is_plain(one) for key, one in data.items())
    if isinstance(data, list):
        return type(data) is list and all(map(is_plain, data))
    return data is None or type(data) in (str, int, bool)


def paths(data: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of each part of plain data."""
    parts = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(inner for key, one in parts for inner in paths(one, (*path, key)))]


def attempt(call: Callable[[], Any]) -> Any:
    """What the call returns, or the refusal."""
    try:
        return call()
    except InvalidRequest as error:
        return error


def test_each_public_value_is_tried() -> None:
    """A new class belongs into the table of `public_values`.  `ResourceAllocation` has the dict of the original."""
    public = {getattr(allocator, name) for name in allocator.__all__} - {allocator.ResourceAllocation}
    assert {one for one in public if dataclasses.is_dataclass(one)} | {Resources} == set(VALUES)


@KINDS
@EXAMPLES
@given(data=st.data())
def test_any_value_comes_back_as_it_was(kind: type[Any], data: st.DataObject) -> None:
    """By each protocol of pickle, by copy, by its dict and by JSON, with fields of a newer version in it."""
    value = data.draw(VALUES[kind])
    plain = value.to_dict()
    assert is_plain(plain)
    for way in WAYS:
        other = way(value)
        assert type(other) is kind
        assert other == value
        assert other.to_dict() == plain
    if kind is not Request:
        assert len({value, copy.deepcopy(value)}) == 1, "it may be a key or a member of a set"


@KINDS
@EXAMPLES
@given(data=st.data())
def test_what_is_no_such_dict_is_refused_by_the_name_of_a_field(kind: type[Any], data: st.DataObject) -> None:
    """Any part may be missing or of any other type: there is a value, or `InvalidRequest`, and nothing else."""
    plain = data.draw(VALUES[kind]).to_dict()
    path = data.draw(st.sampled_from(paths(plain)))
    junk = data.draw(
        st.sampled_from([None, True, -1, 1.5, 2**53, "", "x y", "2026-02-30T00:00:00Z", [], {}, [1], {"a": 1}, {1: 2}])
    )
    whole: dict[Any, Any] = {"": plain}
    part: Any = whole
    for key in ("", *path[:-1])[: len(path)]:
        part = part[key]
    key = path[-1] if path else ""
    if path and isinstance(part, dict) and data.draw(st.booleans()):
        del part[key]
    else:
        part[key] = junk
    answer = attempt(lambda: kind.from_dict(whole[""]))
    if isinstance(answer, InvalidRequest):
        assert answer.field
        assert str(answer).startswith(f"{answer.field}: ")
        assert len(str(answer)) < 400 + ID_LENGTH_MAX
    else:
        assert kind.from_dict(answer.to_dict()) == answer


@EXAMPLES
@given(written=st.dictionaries(resource_names, st.sampled_from(["1", 2, 0.1 + 0.2, "64Mi"]), min_size=1))
def test_a_request_comes_back_with_the_same_amounts(written: dict[str, Any]) -> None:
    """Quantities become exact amounts, so any replica asks for the same."""
    try:
        expected = Resources.request(written)
    except InvalidRequest:
        with pytest.raises(InvalidRequest):
            Request(written, ttl=60).to_dict()
        return
    assert Request.from_dict(Request(written, ttl=60).to_dict()) == Request(expected, ttl=60)


GRANT = Allocation("a", "lab", "me", Resources.of({"cpu": 1500}), 7, 1_795_451_324_622, 60_000, None, {"k": "v"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "AllocationList"}, "kind"),
        ({"apiVersion": "allocator/v2"}, "apiVersion"),
        ({"id": "a b"}, "id"),
        ({"id": "x" * 513}, "id"),
        ({"pool": "{lab}"}, "pool"),
        ({"owner": 7}, "owner"),
        ({"fence": True}, "fence"),
        ({"fence": "7"}, "fence"),
        ({"fence": -1}, "fence"),
        ({"fence": 2**53}, "fence"),
        ({"grantedAt": None}, "grantedAt"),
        ({"grantedAt": "yesterday"}, "grantedAt"),
        ({"deadline": "2026-13-01T00:00:00Z"}, "deadline"),
        ({"deadline": "1969-12-31T23:59:59Z"}, "deadline"),
        ({"ttlMs": 1.5}, "ttlMs"),
        ({"resources": {"cpu": {"quantity": "2"}}}, "resources.cpu.amount"),
        ({"resources": {"cpu": {"amount": "2"}}}, "resources.cpu.amount"),
        ({"resources": {"cpu": 2}}, "resources.cpu"),
        ({"resources": {"c p": {"amount": 1}}}, "resources"),
        ({"resources": []}, "resources"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"epoch": "\n"}, "epoch"),
        ({"created": "yes"}, "created"),
    ],
    ids=str,
)
def test_an_allocation_that_was_edited_wrongly_is_refused(changes: dict[str, Any], field: str) -> None:
    """The path is the dict's, as a person sees it in a status."""
    with pytest.raises(InvalidRequest) as caught:
        Allocation.from_dict({**GRANT.to_dict(), **changes})
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["id", "pool", "owner", "resources", "fence", "grantedAt"])
def test_what_is_missing_is_named(name: str) -> None:
    """A field without a default is needed; `metadata` has one."""
    whole = GRANT.to_dict()
    del whole[name]
    with pytest.raises(InvalidRequest, match=f"^{name}: is missing$"):
        Allocation.from_dict(whole)
    whole = GRANT.to_dict()
    del whole["metadata"]
    assert Allocation.from_dict(whole) == dataclasses.replace(GRANT, metadata={})


def test_integers_win_over_texts() -> None:
    """Of an amount that says two things, the exact integer is read; a whole float is an integer in some languages."""
    whole = GRANT.to_dict()
    whole["resources"]["cpu"] = {"quantity": "64", "amount": 1500.0}
    assert Allocation.from_dict(whole) == GRANT


@pytest.mark.parametrize("data", [None, [], "a", 1, [("id", "a")]], ids=repr)
def test_only_a_mapping_is_read(data: Any) -> None:
    """A list of allocations is read item by item."""
    with pytest.raises(InvalidRequest) as caught:
        Allocation.from_dict(data)
    assert caught.value.field == "data"


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-23T16:38:44.622Z", 1_795_451_924_622),
        ("2026-11-23t17:38:44.6229+01:00", 1_795_451_924_622),
        ("2000-02-29T00:00:00z", 951_782_400_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ("+10000-01-01T00:00:00.000Z", 253_402_300_800_000),
        ("+287396-10-12T08:59:00.991Z", AMOUNT_MAX),
    ],
)
def test_instants_are_read_to_the_millisecond(text: str, ms: int) -> None:
    """As others write RFC 3339, and up to the last instant that can be counted."""
    read = Allocation.from_dict({**GRANT.to_dict(), "deadline": text})
    assert read.deadline_ms == ms
    assert Allocation.from_dict({**GRANT.to_dict(), "deadline": rfc3339(ms)}) == read


def test_metadata_is_read_only() -> None:
    """Whatever mapping it was made of: what the library returned cannot be changed by one reader for the others."""
    given = {"k": "v"}
    allocation = dataclasses.replace(GRANT, metadata=given)
    given["k"] = "changed"
    assert allocation.metadata == {"k": "v"} == GRANT.metadata
    event = Event("1-0", "granted", given)
    for mapping in (allocation.metadata, event.fields, Allocation.from_dict(GRANT.to_dict()).metadata):
        assert isinstance(mapping, ReadOnlyMapping)
        with pytest.raises(TypeError):
            mapping["k"] = "w"  # type: ignore[index]
    assert dataclasses.asdict(GRANT)["metadata"] == {"k": "v"}
    assert repr(GRANT.metadata) == "{'k': 'v'}"
    assert GRANT.metadata != [("k", "v")]


def test_pickles_of_other_versions_are_read() -> None:
    """One that lacks a field has its default; a field that this version does not know is dropped."""
    function, (kind, attributes) = GRANT.__reduce__()
    assert (function, kind) == (restore, Allocation)
    older = {name: one for name, one in attributes.items() if name not in ("durability", "releasing_ms", "metadata")}
    assert restore(Allocation, older) == dataclasses.replace(GRANT, metadata={})
    assert restore(Allocation, {**attributes, "of_the_future": 1}) == GRANT
    with pytest.raises(TypeError, match="fence"):
        restore(Allocation, {name: one for name, one in attributes.items() if name != "fence"})


def test_a_document_says_what_it_is() -> None:
    """Parts of others do not: a list does not repeat it."""
    assert list(GRANT.to_dict())[:2] == ["apiVersion", "kind"]
    assert (GRANT.to_dict()["apiVersion"], GRANT.to_dict()["kind"]) == (API_VERSION, "Allocation")
    assert "apiVersion" not in Check(False, Denial("never_fits", "lab", ())).to_dict()["denial"]
    assert Allocation.from_dict(GRANT.to_fields()) == GRANT
