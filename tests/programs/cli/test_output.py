"""Durations, tables, and the other forms of text."""

from __future__ import annotations

import pytest

from allocator.apps.cli import arguments
from allocator.apps.cli.output import columns, duration, fields, printable, rfc3339, table
from allocator.durations import exact


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (120, "2m"),
        (312, "5m12s"),
        (599, "9m59s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_520, "3h12m"),
        (28_800, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (183_600, "2d3h"),
        (86_400 * 45 + 3_600, "45d"),
    ],
)
def test_durations_are_short_and_as_exact_as_matters(seconds: float, text: str) -> None:
    """The boundaries are kubectl's."""
    assert duration(seconds) == text


@pytest.mark.parametrize("text", ["0s", "1.5s", "59s", "1m", "1m30s", "1h", "1h0.25s", "3h12m", "1d", "1d2h3m4.005s"])
def test_a_time_to_live_is_shown_exactly(text: str) -> None:
    """It is what was given, not how long ago something was."""
    assert exact(round(arguments.duration(text) * 1000)) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("3h12m", 11_520), ("1d", 86_400), ("1d2h3m4s", 93_784), ("1.5s", 1.5), ("0s", 0)],
)
def test_durations_are_read_as_they_are_written(text: str, seconds: float) -> None:
    """What `list` shows can be typed."""
    assert arguments.duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "10", "-1s", "1h1d", "1 h", "10ms", "1.5h", "1w", "s", "\u0661s", "1" * 40 + "s", "none"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A bare number has no unit that everybody would guess."""
    with pytest.raises(arguments.click.BadParameter, match="is not a duration"):
        arguments.duration(text)


def test_none_is_a_time_to_live() -> None:
    """It pins; nowhere else is it a duration."""
    assert arguments.time_to_live("none") == arguments.PINNED
    assert arguments.time_to_live("1m") == 60


def test_tables_have_no_blanks_at_the_end_of_a_line() -> None:
    """So that they can be compared, and pasted."""
    rows = [("a", "", "x"), ("long", "1", "")]
    assert table(("ID", "N", "REASON"), rows) == "ID    N  REASON\na     -  x\nlong  1  -"
    assert table(("ID", "N", "REASON"), rows, headed=False) == "a     -  x\nlong  1  -"
    assert table(("ID",), []) == "ID"
    assert table(("ID",), [], headed=False) == ""


def test_columns_put_cpu_and_memory_first() -> None:
    """The rest by name; each once."""
    assert columns([{"zinc": 1, "memory": 1}, {"cpu": 1, "apples": 1, "memory": 1}]) == [
        "cpu",
        "memory",
        "apples",
        "zinc",
    ]


def test_fields_leave_out_what_is_empty() -> None:
    """An empty value or list is no line."""
    assert fields([("Name", "x"), ("TTL", ""), ("Metadata", []), ("Events", [("1s ago", "granted")])]) == (
        "Name:    x\nEvents:\n  1s ago  granted"
    )


def test_printable_keeps_text_and_shows_the_rest() -> None:
    """Letters of any script stay; what moves a cursor or hides does not."""
    assert printable("Übung 実験") == "Übung 実験"
    assert printable("a\tb\x1b[0m\u202e") == "a\\tb\\x1b[0m\\u202e"


def test_instants_are_in_utc_to_the_millisecond() -> None:
    """RFC 3339."""
    assert rfc3339(1_767_225_600_007) == "2026-01-01T00:00:00.007Z"
    assert rfc3339(None) is None
