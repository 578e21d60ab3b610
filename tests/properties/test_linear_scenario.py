"""The scenario of the linearizability stage: seeded, and honest about what was ambiguous."""

from __future__ import annotations

import pytest

from allocator import AllocationConflict, AllocationLost, BackendUnavailable, Denial, Insufficient, OutcomeUnknown
from allocator.denials import Shortage
from tests.properties.history import NEVER, Recorder
from tests.properties.scenario import FATES, Board, Luck, Replica
from tests.soak.counting import Sent

SEED = "7/0"


def sends(times: int) -> Sent:
    sent = Sent()
    sent.times = times
    return sent


def replica() -> Replica:
    return Replica(0, SEED, Recorder(), Board())


def test_a_seed_chooses_the_same_again() -> None:
    """Or no failure could be tried again."""
    one, other = replica(), replica()
    assert [one.choose() for _ in range(200)] == [other.choose() for _ in range(200)]


def test_the_network_is_bad_for_three_requests_in_a_hundred() -> None:
    """And for none once it is healed."""
    luck = Luck(SEED)
    deciders = [luck._decider(fault, draws=at == 0) for at, fault in enumerate(FATES)]
    met = sum(any(decide(b"") for decide in deciders) for _ in range(10_000))
    assert 250 < met < 350
    luck.bad = False
    assert not any(decide(b"") for decide in deciders for _ in range(1000))


def test_what_nobody_heard_of_is_undone_when_its_client_is_closed() -> None:
    """It has no end itself; its undoing is an operation of its own."""
    caller = replica()
    op = caller.recorder.begin(0, "north", "allocate", "a", "me", (("cpu", 1000),))
    caller.told(op, OutcomeUnknown("lost", id="a"), sends(1))
    assert (op.known, op.ended) == (False, NEVER)
    (undo,) = caller.recorder.ops[1:]
    assert (undo.verb, undo.args, undo.known) == ("undo", ("a", op.number), False)
    caller.close()
    assert undo.known


@pytest.mark.parametrize(("sent", "undone"), [(1, 0), (2, 1)])
def test_what_was_repeated_and_refused_is_undone(sent: int, undone: int) -> None:
    """For the first attempt may still come."""
    caller = replica()
    op = caller.recorder.begin(0, "north", "allocate", "a", "me", (("cpu", 1000),))
    caller.told(op, AllocationConflict("another's", id="a"), sends(sent))
    assert (op.outcome, op.again) == (("conflict",), sent > 1)
    assert [one.verb for one in caller.recorder.ops[1:]] == ["undo"] * undone


def test_what_was_never_sent_has_no_effect() -> None:
    """It was cancelled before that: any effect of it has no explanation."""
    caller = replica()
    op = caller.recorder.begin(0, "north", "allocate", "a", "me", (("cpu", 1000),))
    caller.told(op, TimeoutError(), sends(0))
    assert caller.recorder.ops == []


def test_what_was_not_executed_is_no_part_of_the_history() -> None:
    """The library said so, and is held to it: any effect of it has no explanation."""
    caller = replica()
    op = caller.recorder.begin(0, "north", "release", "a", 0)
    caller.told(op, BackendUnavailable("down"), sends(1))
    assert caller.recorder.ops == []


@pytest.mark.parametrize(
    ("verb", "answer", "outcome"),
    [
        ("allocate", AllocationLost("gone"), ("lost",)),
        ("resize", AllocationLost("gone"), ("fenced",)),
        (
            "allocate",
            Insufficient(Denial("capacity_exceeded", "north", (Shortage("cpu", 2000, 7000, 8000),))),
            ("denied", ("cpu", 2000, 7000, 8000)),
        ),
    ],
)
def test_an_answer_is_written_down_in_the_words_of_the_model(
    verb: str, answer: Exception, outcome: tuple[object, ...]
) -> None:
    """With its numbers: they are what most states differ in."""
    caller = replica()
    op = caller.recorder.begin(0, "north", verb, "a", "me", (("cpu", 2000),))
    caller.told(op, answer, sends(1))
    assert op.outcome == outcome
