"""What the stage `eyes` holds against a journal of events."""

from __future__ import annotations

from tests.soak.eyes_work import complaints, entry

STORED = [entry(f"{ms}-0") for ms in (10, 20, 30, 40, 50)]


def journal(*words: str) -> list[str]:
    """Lines of a journal: an event's id, or `missed`."""
    return [f"{0 if word == 'missed' else word} {'missed' if word == 'missed' else 'granted'} job" for word in words]


def test_a_journal_that_has_all_since_its_first_event_is_good() -> None:
    """What came before the watch began, and after it ended, is not its own; what a failover has lost may be there."""
    assert complaints(journal("20-0", "25-0", "30-0", "40-0"), STORED) == []


def test_an_event_that_was_passed_over_is_found() -> None:
    """Only if nothing says that some are missing."""
    assert complaints(journal("10-0", "20-0", "40-0"), STORED) == [
        "1 events were passed over in silence, the first is (30, 0)"
    ]
    assert complaints(journal("10-0", "20-0", "missed", "40-0"), STORED) == []
    assert complaints(journal("10-0", "missed", "30-0", "50-0"), STORED) == [
        "1 events were passed over in silence, the first is (40, 0)"
    ]


def test_an_event_that_comes_twice_is_found() -> None:
    """Also one that comes late; after a gap that is told the order may begin anew."""
    assert complaints(journal("10-0", "20-0", "20-0", "30-0"), STORED) == ["1 events came out of order, or twice"]
    assert complaints(journal("30-0", "20-0"), []) == ["1 events came out of order, or twice"]
    assert complaints(journal("30-0", "missed", "20-0"), []) == []


def test_an_empty_journal_is_no_proof() -> None:
    """Nothing was looked at."""
    assert complaints([], STORED) == ["nothing was seen"]
