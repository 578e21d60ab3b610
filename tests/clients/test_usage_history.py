"""`pools.usage_history`: what it takes, and what it returns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from allocator import InvalidRequest, UnknownPool, UsageHistory
from allocator.testing import Clock, memory_allocator


def test_bad_input_names_its_field() -> None:
    """Nothing is sent."""
    with memory_allocator({"cpu": 4}, clock=Clock()) as client:
        wrong: tuple[tuple[str, dict[str, Any]], ...] = (
            ("since", {"since": -1}),
            ("since", {"since": "1h"}),
            ("since", {"since": datetime(2026, 1, 1)}),  # noqa: DTZ001 - without a zone on purpose
            ("resolution", {"resolution": 61}),
            ("resolution", {"resolution": True}),
        )
        for field, given in wrong:
            with pytest.raises(InvalidRequest) as caught:
                client.pools.usage_history(**given)
            assert caught.value.field == field
        with pytest.raises(UnknownPool):
            client.pools.usage_history("none")


def test_a_history_travels_and_may_begin_at_an_instant() -> None:
    """Its dict is that of `-o json`; an instant before the pool is where the pool begins."""
    clock = Clock()
    with memory_allocator({"cpu": 4}, clock=clock) as client:
        client.allocate({"cpu": 3}, ttl=None)
        clock.advance(timedelta(minutes=5))
        found = client.pools.usage_history(since=datetime(2020, 1, 1, tzinfo=UTC), resolution=60)
        assert UsageHistory.from_dict(found.to_dict()) == found
        assert [point.grants for point in found.points][:2] == [1, 0]
        assert {point.resources["cpu"].allocated for point in found.points} == {3000}
        assert client.pools.usage_history(since=timedelta(days=2)).points[0].seconds == 3600
