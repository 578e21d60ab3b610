"""The units of a pool as they are sent and stored, and the limit that they set."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import InvariantError, ResourceUnits
from allocator._engine.operations.maintenance.audit_findings import limits
from allocator._engine.protocol.pool_units import decode_units, encode_units
from allocator.models.resource_units import limit_of
from allocator.settings import AMOUNT_MAX

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=100, database=None)

names = st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "hugepages-2Mi", "keeps", "units"])
numbers = st.integers(1, 2000) | st.integers(1, AMOUNT_MAX)
parts = st.none() | numbers
rules = st.tuples(parts, st.none() | st.integers(1, 15_000), parts, parts, parts).filter(any)


def text_of(stored: dict[str, tuple[int | None, ...]], none: str) -> str:
    """The rules as an option."""
    return ",".join(":".join((name, *(str(part or none) for part in rule))) for name, rule in stored.items())


@EXAMPLES
@given(st.dictionaries(names, rules, max_size=4))
def test_units_that_were_read_are_sent_as_they_were(stored: dict[str, tuple[int | None, ...]]) -> None:
    """Quantities are canonical texts, which are exact; what is none stays as it is."""
    units = decode_units(text_of(stored, ""), "the pool")
    assert encode_units(units) == text_of(stored, "-")
    for name, one in units.items():
        reserved, _, *bounds = stored[name]
        assert list(one.amounts(name).values()) == [part or 0 for part in (reserved, *bounds)]


@pytest.mark.parametrize("text", ["cpu", "cpu:1:2:3:4", "cpu:1:2:3:4:5:6", "cpu:x::::", "cpu:-1::::", ":1::::"])
def test_broken_units_are_no_refusal(text: str) -> None:
    """A `ValueError` would mean full."""
    with pytest.raises(InvariantError, match="the pool has broken units in options"):
        decode_units(f"memory:1::::,{text}", "the pool")


def test_a_part_that_is_none_is_sent_as_unchanged() -> None:
    """And 0 as none; a resource of which nothing changes is not sent."""
    units = {"cpu": ResourceUnits(0, None, "1500m", None, 0), "memory": ResourceUnits()}
    assert encode_units(units) == "cpu::-:1500:-:"


@EXAMPLES
@given(st.integers(0, AMOUNT_MAX), st.integers(0, 15_000), st.data())
def test_a_limit_grows_with_the_overcommit_and_shrinks_with_what_is_reserved(
    capacity: int, more: int, data: st.DataObject
) -> None:
    """And is the capacity where there is neither."""
    reserved = data.draw(st.integers(0, capacity))
    limit = limit_of(capacity, reserved, more)
    assert limit_of(capacity, 0, 0) == capacity
    assert capacity - reserved <= limit <= 16 * (capacity - reserved)
    assert limit_of(capacity, reserved, 0) == capacity - reserved
    assert more == 0 or limit_of(capacity, reserved, more - 1) <= limit


def test_an_audit_compares_each_limit() -> None:
    """Also of a total whose units are gone, and of units whose total is gone."""
    account = {"options": "keeps=1 units=cpu:1000::::,gpu::500:::,memory:::1::"}
    capacities = {"cpu": "3000", "gpu": "3000", "memory": "5", "disk": "7"}
    assert not limits(account, capacities, {"cpu": "4000", "gpu": "2000"})
    found = limits(account, capacities, {"cpu": "5000", "disk": "8"})
    assert [(one.kind, one.subject) for one in found] == [
        ("limit_drift", "cpu"), ("limit_drift", "disk"), ("no_total", "gpu"),
    ]  # fmt: skip
    assert [one.kind for one in limits({"options": "units=cpu:x::::"}, {}, {})] == ["broken_field"]
