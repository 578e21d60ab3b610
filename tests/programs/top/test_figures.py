"""What `top` shows, as plain values: history, bars, tables, sentences."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import Allocation, Release, Resources, ResourceUsage, Usage
from allocator.apps.top.bars import bars, clipped, shortened, sparkline
from allocator.apps.top.feed import Trouble
from allocator.apps.top.messages import banner, question, released, state
from allocator.apps.top.reading import STALE_S, History, Reading, level
from allocator.apps.top.sheets import SHOWN_MAX, Order, arranged
from allocator.apps.top.tables import allocations_sheet, events_sheet, scopes_sheet
from allocator.models.events import Event
from allocator.models.quotas import Quota, QuotaUsage
from allocator.testing import memory_allocator

HOSTILE = "[bold red]x[/]\x1b[31m"


def usage(**rows: ResourceUsage) -> Usage:
    """A reading of a pool with these resources."""
    with memory_allocator({"cpu": 4}) as client:
        read = client.pools.usage()
    return Usage(read.pool, rows or read.resources, 0, 0, 0, 1_800_000_000_000)


def allocation(name: str, **more: Any) -> Allocation:
    """An allocation of a second's age."""
    more = {"owner": "ctl", "deadline_ms": 1_800_000_060_000, "ttl_ms": 60_000, "fence": 1} | more
    cpu = more.pop("cpu", 1)
    return Allocation(name, "test", resources=Resources.request({"cpu": cpu}), granted_ms=1_799_999_999_000, **more)


def reading(*items: Allocation, at_s: float = 0.0, total: int | None = None, scopes: tuple[Quota, ...] = ()) -> Reading:
    """A reading with these allocations."""
    read = usage()
    counted = Usage(read.pool, read.resources, total or len(items), 0, 0, read.read_ms, scopes=len(scopes))
    return Reading(counted, items, (), scopes, at_s, is_whole=total is None)


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (ResourceUsage(100, 0), ("", "green")),
        (ResourceUsage(100, 69), ("", "green")),
        (ResourceUsage(100, 70), ("high", "yellow")),
        (ResourceUsage(100, 90), ("near full", "red")),
        (ResourceUsage(100, 100), ("full", "red")),
        (ResourceUsage(100, 40, kept=60), ("full", "red")),
        (ResourceUsage(100, 133), ("over", "red")),
    ],
)
def test_each_level_has_a_word_beside_its_colour(row: ResourceUsage, word: tuple[str, str]) -> None:
    """Who sees no colours reads the same."""
    assert level(row) == word


def test_history_is_a_minute_and_leaves_open_what_is_not_known() -> None:
    """The highest of each interval; what was not read again for long is not known."""
    history = History()
    for at_s, allocated in ((0, 10), (61, 20), (62, 90), (63, 30), (70, 40)):
        history.add(at_s, usage(cpu=ResourceUsage(100, allocated)))
    assert history.shares("cpu", 71.0, 6) == [None, None, None, None, 90.0, 40.0]
    assert history.shares("cpu", 81.0, 6)[-2:] == [40.0, 40.0]
    assert history.shares("cpu", 120.0, 6) == [40.0, 40.0, None, None, None, None]
    assert history.shares("memory", 71.0, 2) == [None, None]


def test_a_sparkline_has_one_column_for_each_share() -> None:
    """Below 0 and above 100, as broken data may be, it stays in its row."""
    assert sparkline([None, -5.0, 0.0, 50.0, 100.0, 400.0]) == "·▁▁▅██"


@pytest.mark.parametrize("width", [20, 40, 60, 78, 118, 198])
def test_bars_fit_any_width(width: int) -> None:
    """From 78 columns on nothing is cut; below, the terminal cuts."""
    names = {"cpu": ResourceUsage(64_000, 60_000), "nvidia.com/gpu": ResourceUsage(8_000, 8_000)}
    found = bars(Reading(usage(**names), (), (), (), 0.0), History(), 0.0, width, 6).plain.split("\n")
    assert len(found) == 2
    assert len({len(one) for one in found}) == 1
    assert "93% near full" in found[0]
    assert "100% full" in found[1]
    if width >= 78:
        assert max(map(len, found)) <= width


def test_a_full_bar_means_that_nothing_is_left() -> None:
    """Rounding never makes a pool full, or empty."""
    rows = {"cpu": ResourceUsage(10_000, 9_999), "memory": ResourceUsage(2**40, 1)}
    full, empty = bars(Reading(usage(**rows), (), (), (), 0.0), History(), 0.0, 100, 6).plain.split("\n")
    assert "■·" in full
    assert "■·" in empty


def test_more_resources_than_rows_are_counted_with_the_fullest() -> None:
    """No resource is left out in silence."""
    rows = {f"r{number}": ResourceUsage(100_000, number * 10_000) for number in range(9)}
    found = bars(Reading(usage(**rows), (), (), (), 0.0), History(), 0.0, 100, 4).plain.split("\n")
    assert len(found) == 4
    assert found[-1] == "and 6 more, the fullest r8 80% high (b shows all)"


def test_long_names_are_cut_to_columns_not_characters() -> None:
    """Wide characters take two."""
    assert clipped("abcdef", 4) == "abc…"
    assert clipped("漢字漢字", 5) == "漢字…"
    assert shortened("labs/os-101/4f2a", 9) == "labs…4f2a"
    assert clipped("abc", 0) == ""


def test_ages_are_by_the_servers_clock() -> None:
    """This machine's wall clock is not asked: only how much time has passed here since the reading."""
    read = reading(at_s=100.0)
    assert read.now_ms(100.0) == read.usage.read_ms
    assert read.now_ms(103.5) == read.usage.read_ms + 3500
    assert read.now_ms(90.0) == read.usage.read_ms


def test_a_filter_wants_each_of_its_words() -> None:
    """In the id, the owner, the scope, the status and the metadata, in any case."""
    items = (
        allocation("job-1", owner="Alice", metadata={"team": "red"}),
        allocation("job-2", owner="bob", scope="team-a"),
        allocation("job-3", owner="bob", deadline_ms=None),
    )
    sheet = allocations_sheet(reading(*items))

    def ids(pattern: str) -> list[str]:
        return [one.id for one in arranged(sheet, Order("ID"), pattern).items]

    assert ids("alice") == ids("team=red") == ["job-1"]
    assert ids("BOB job") == ["job-2", "job-3"]
    assert ids("bob pinned") == ["job-3"]
    assert ids("[nothing") == []
    assert arranged(sheet, Order(), "bob").note == "2 of 3 match, filter 'bob'"


def test_a_large_pool_is_bounded_and_says_what_is_left_out() -> None:
    """The first thousand by the column that sorts; also where not all were read."""
    items = [allocation(f"job-{number:05}", cpu=1 + number % 7) for number in range(1_234)]
    shown = arranged(allocations_sheet(reading(*items)), Order("CPU"), "")
    assert (len(shown.items), shown.note) == (SHOWN_MAX, "first 1,000 of 1,234 by cpu")
    assert shown.items[0].resources["cpu"] == 7000
    assert arranged(allocations_sheet(reading(*items)), Order("ID"), "job-00001").note == (
        "1 of 1,234 match, filter 'job-00001'"
    )
    some = arranged(allocations_sheet(reading(*items, total=134_000)), Order("ID"), "")
    assert some.note == "first 1,000 of 134,000 by id, 1,234 read"
    found = arranged(allocations_sheet(reading(*items, total=134_000)), Order("ID"), "job-0000")
    assert found.note == "10 of 1,234 match, searched 1,234 of 134,000, filter 'job-0000'"


def test_sorting_is_stable_and_goes_both_ways() -> None:
    """An unknown column, as one that has gone, is the first one."""
    items = [allocation("b", cpu=2), allocation("a", cpu=2), allocation("c", cpu=1)]
    sheet = allocations_sheet(reading(*items))
    assert [one.id for one in arranged(sheet, Order("CPU"), "").items] == ["a", "b", "c"]
    assert [one.id for one in arranged(sheet, Order("CPU", True), "").items] == ["c", "a", "b"]
    assert [one.id for one in arranged(sheet, Order("GPU"), "").items] == ["a", "b", "c"]


def test_scopes_are_a_tree() -> None:
    """Branches say what is below what."""
    row = {"cpu": QuotaUsage(allocated=1000, kept=0, available=0, nominal=2000)}
    names = ("a", "a/x", "a/x/deep", "a/y", "b", "b/z")
    sheet = scopes_sheet(reading(scopes=tuple(Quota(name, "test", 1, row) for name in names)))
    assert [one.label for one in sheet.items] == ["pool test", "├ a", "│ ├ x", "│ │ └ deep", "│ └ y", "└ b", "  └ z"]
    assert sheet.items[1].cells == ("2", "1", "", "1", "", "0")


def test_a_cut_history_is_said_among_the_events() -> None:
    """In words."""
    found = [
        Event("1800000000000-0", "missed", {"reason": "trimmed"}),
        Event("1800000000001-0", "granted", {"id": "x"}),
    ]
    sheet = events_sheet(found, "")
    cells = [[column.text(one, 0) for column in sheet.columns] for one in sheet.items]
    assert cells[0][1:3] == ["granted", "x"]
    assert cells[1][1] == "missed"
    assert cells[1][5] == "events are missing here: the history was cut"
    assert sheet.color(found[0], 0) == "red"
    assert "no right" in events_sheet([], "no right to XREAD").empty


def test_what_is_wrong_is_said_with_the_age_of_the_figures() -> None:
    """Away, gone, or no reply yet."""
    read = reading(at_s=100.0)
    assert banner(None, read, 105.0) == ""
    assert (
        banner(None, read, 100.0 + STALE_S + 1)
        == "STALE: no reply yet to the last reading.  These figures are 13s old."
    )
    away = banner(Trouble("no server\nat x", False, 110.0), read, 113.0)
    assert away == "AWAY for 3s: no server at x.  These figures are 13s old.  Trying again."
    assert banner(Trouble("there is no pool 'x'", True, 110.0), read, 113.0).startswith(
        "POOL GONE: there is no pool 'x'."
    )
    assert "Nothing is known yet" in banner(Trouble("x", False, 0.0), None, 1.0)


def test_a_question_names_owners_and_sums() -> None:
    """And a long list of owners is counted."""
    items = [allocation(f"j{number}", owner=f"o{number % 6}", cpu="500m") for number in range(12)]
    assert question(items, "lab") == (
        "Release 12 allocations of pool lab?\nowners: o0 (2), o1 (2), o2 (2), o3 (2), 2 more\ngives back: cpu 6"
    )
    assert question(items[:1], "lab") == "Release 1 allocation of pool lab?\nowner: o0\ngives back: cpu 500m"
    assert "\x1b" not in question([allocation("x", owner=HOSTILE)], "lab")


def test_outcomes_of_a_release_are_counted() -> None:
    """A later grant of an id is said to be untouched."""
    assert released([Release("a", "released", 1)]) == "a is released"
    assert released([Release("a", "released", 1), Release("b", "fenced"), Release("c", "fenced")]) == (
        "2 another grant by now, and not touched, 1 released"
    )


def test_an_unusual_state_of_the_pool_is_said() -> None:
    """As it explains why nothing is granted."""
    with memory_allocator({"cpu": 4}, recovery_grace=60) as client:
        read = client.pools.usage()
    said = state(Reading(read, (), (), (), 0.0), read.read_ms)
    assert said.startswith("0 allocations, 0 pinned, 0 due, 0 waiting")
    assert ("RECOVERING" in said) == (read.pool.state == "recovering")
