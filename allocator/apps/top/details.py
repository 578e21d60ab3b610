"""What `Enter` shows of a row: all there is to know about it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from allocator import settings
from allocator.apps.cli.allocations_list import EVENTS_SHOWN, STORY_BEFORE_MS, description, when
from allocator.apps.cli.output import columns, fields, human
from allocator.durations import exact
from allocator.models.allocations import Allocation
from allocator.models.events import MISSED, Event
from allocator.models.queue import Waiter

if TYPE_CHECKING:
    from allocator import AsyncAllocator

__all__ = ["of_allocation", "of_event", "of_waiter"]


async def of_allocation(client: AsyncAllocator, shown: Allocation) -> str:
    """An allocation and its events, as `describe` shows them; of one that has ended, what was shown and its events.

    Two round trips, and one for each 500 events since it was granted.
    """
    found = await client.get(shown.id)
    now_ms = (await client.pools.usage()).read_ms
    item = found or shown
    events = deque([one async for one in _events_of(client, item)], EVENTS_SHOWN)
    text = description(item, list(events), now_ms)
    return text if found else f"It is not live any more.  What was shown, and its events:\n\n{text}"


async def _events_of(client: AsyncAllocator, item: Allocation) -> AsyncIterator[Event]:
    """The stored events of an allocation, from when it began."""
    since: str | int = max(0, item.granted_ms - STORY_BEFORE_MS)
    for _ in range(settings.EVENTS_MAX // settings.PAGE_RECORDS_MAX + 1):
        page = await client.events.since(since)
        for event in page:
            if event.fields.get("id") == item.id or event.kind == MISSED:
                yield event
        if len(page) < settings.PAGE_RECORDS_MAX:
            return
        since = page[-1].id


def of_waiter(item: Waiter, now_ms: int) -> str:
    """A request in line, with what it is short of in numbers."""
    shortages = () if item.denial is None else item.denial.shortages
    short = [(one.name or one.level, str(one)) for one in shortages]
    return fields(
        (
            ("ID", item.id),
            ("Pool", item.pool),
            ("Position", str(item.position)),
            ("Owner", item.owner),
            ("Scope", item.scope or ""),
            ("Share of", item.share_of or ""),
            ("Priority", str(item.priority)),
            ("Resources", list(item.resources.text().items())),
            ("TTL", "pinned" if item.ttl_ms is None else exact(item.ttl_ms)),
            ("Since", when(item.since_ms, now_ms)),
            ("Gives up", when(item.until_ms, now_ms)),
            ("May start", when(item.start_ms, now_ms)),
            ("Reason", "its scope does not exist any more" if item.denial is None else item.denial.code),
            ("Short of", short),
            ("Members", [(one.id, one.resources.__str__()) for one in item.members]),
            ("Metadata", sorted(item.metadata.items())),
        )
    )


def of_event(item: Event, now_ms: int) -> str:
    """An event with all its fields."""
    amounts = [(name, human(name, item.amounts[name], up=True, wide=True)) for name in columns([item.amounts])]
    return fields(
        (
            ("Event", item.id),
            ("Type", item.kind),
            ("At", when(round(item.at.timestamp() * 1000), now_ms)),
            ("ID", item.fields.get("id", "")),
            ("Owner", item.fields.get("owner", "")),
            ("By", item.actor or ""),
            ("Fence", item.fields.get("fence", "")),
            ("Reason", item.fields.get("reason", "")),
            ("Resources", amounts),
            ("Details", sorted(item.details.items())),
        )
    )
