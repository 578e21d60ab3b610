"""The checker of histories: what it must let pass, and every kind of lie that it must find."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from tests.properties.clocked_model import Model
from tests.properties.history import NEVER, UNKNOWN, Op
from tests.properties.linear import TooLong, check, explain

POOL = "lab"
CAPACITY = {"cpu": 4}
ONE, TWO, THREE, FOUR = ((("cpu", amount),) for amount in (1, 2, 3, 4))


def model() -> Model:
    return Model(CAPACITY)


class Story:
    """A history written by hand: each operation with its two instants."""

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def did(self, began: int, ended: int, verb: str, args: tuple[Any, ...], *told: Any, sent: int = 1) -> Op:
        op = Op(len(self.ops) + 1, len(self.ops), POOL, verb, args, began, ended, told, sent)
        self.ops.append(op)
        return op

    def doubt(self, began: int, verb: str, args: tuple[Any, ...]) -> Op:
        op = Op(len(self.ops) + 1, len(self.ops), POOL, verb, args, began, NEVER, UNKNOWN)
        self.ops.append(op)
        return op

    def granted(
        self, began: int, ended: int, name: str, amounts: Any, fence: int, *, sent: int = 1, asked: Any = None
    ) -> Op:
        return self.did(began, ended, "allocate", (name, "me", asked or amounts), "granted", fence, amounts, sent=sent)

    def existing(self, began: int, ended: int, name: str, amounts: Any, fence: int, *, sent: int = 1) -> Op:
        return self.did(began, ended, "allocate", (name, "me", amounts), "existing", fence, amounts, sent=sent)

    def usage(self, began: int, ended: int, allocated: int, count: int) -> Op:
        return self.did(began, ended, "usage", (), "counters", (("cpu", allocated),), count)

    def denied(self, began: int, ended: int, name: str, wanted: int, allocated: int, *, sent: int = 1) -> Op:
        told = ("cpu", wanted, allocated, 4)
        return self.did(began, ended, "allocate", (name, "me", (("cpu", wanted),)), "denied", told, sent=sent)

    @property
    def ok(self) -> bool:
        return bool(check(self.ops, model()))


@pytest.fixture
def story() -> Story:
    return Story()


def test_one_after_another_is_an_order(story: Story) -> None:
    """The plain life of an allocation."""
    story.granted(0, 1, "a", TWO, 10)
    story.did(2, 3, "get", ("a",), "record", ("me", TWO, 10))
    story.did(4, 5, "resize", ("a", 10, THREE), "resized", THREE)
    story.did(6, 7, "renew", ("a", 10), "renewed")
    story.denied(8, 9, "b", 2, 3)
    story.did(10, 11, "release", ("a", 10), "released")
    story.usage(12, 13, 0, 0)
    assert story.ok


def test_what_was_at_the_same_time_may_have_come_in_any_order(story: Story) -> None:
    """The denial saw the grant that ended after it."""
    story.granted(0, 10, "a", THREE, 10)
    story.denied(1, 9, "b", 2, 3)
    assert story.ok


def test_an_order_against_time_is_none(story: Story) -> None:
    """The denial had ended before the grant that it saw began."""
    story.denied(0, 1, "b", 2, 3)
    story.granted(2, 3, "a", THREE, 10)
    assert not story.ok


def test_more_than_there_is_was_granted(story: Story) -> None:
    """Two grants that do not fit together, whatever their order."""
    story.granted(0, 9, "a", THREE, 10)
    story.granted(1, 8, "b", TWO, 11)
    assert not story.ok


def test_a_lost_update_is_found(story: Story) -> None:
    """Two grants, and a counter that knows of one."""
    story.granted(0, 9, "a", ONE, 10)
    story.granted(1, 8, "b", ONE, 11)
    story.usage(10, 11, 1, 2)
    assert not story.ok


def test_a_double_release_is_found(story: Story) -> None:
    """One grant was given back twice, and both were told that it was they."""
    story.granted(0, 1, "a", ONE, 10)
    story.did(2, 9, "release", ("a", 0), "released")
    story.did(3, 8, "release", ("a", 0), "released")
    assert not story.ok


def test_one_of_two_releases_is_told_that_there_is_nothing(story: Story) -> None:
    """The same, as it should be."""
    story.granted(0, 1, "a", ONE, 10)
    story.did(2, 9, "release", ("a", 0), "released")
    story.did(3, 8, "release", ("a", 0), "unknown")
    assert story.ok


def test_a_stale_reading_is_found(story: Story) -> None:
    """What was released before is still shown."""
    story.granted(0, 1, "a", ONE, 10)
    story.did(2, 3, "release", ("a", 0), "released")
    story.did(4, 5, "get", ("a",), "record", ("me", ONE, 10))
    assert not story.ok


@pytest.mark.parametrize("fence", [10, 9])
def test_a_fence_that_does_not_grow_is_found(story: Story, fence: int) -> None:
    """A later grant with an earlier fence, or with the same."""
    story.granted(0, 1, "a", ONE, 10)
    story.granted(2, 3, "b", ONE, fence)
    assert not story.ok


def test_a_stale_holder_that_is_let_through_is_found(story: Story) -> None:
    """It came with the fence of a grant that had ended."""
    story.granted(0, 1, "a", ONE, 10)
    story.did(2, 3, "release", ("a", 10), "released")
    story.granted(4, 5, "a", ONE, 11)
    story.did(6, 7, "release", ("a", 10), "released")
    assert not story.ok


def test_a_denial_with_wrong_numbers_is_found(story: Story) -> None:
    """It does not fit, but not for that reason."""
    story.granted(0, 1, "a", THREE, 10)
    story.denied(2, 3, "b", 2, 4)
    assert not story.ok


def test_a_denial_of_what_fits_is_found(story: Story) -> None:
    """The numbers are right, and there is room."""
    story.denied(0, 1, "b", 2, 0)
    assert not story.ok


def test_a_double_effect_is_found(story: Story) -> None:
    """A repeat met what its own first attempt had been granted, and took it for another's."""
    story.existing(0, 9, "a", ONE, 10, sent=2)
    assert not story.ok


def test_a_repeat_is_told_again_that_it_was_granted(story: Story) -> None:
    """Also where another has shared the grant before its caller heard of it: each is told as the first time."""
    story.granted(0, 9, "a", ONE, 10, sent=2)
    story.existing(2, 3, "a", ONE, 10)
    assert story.ok
    story.existing(4, 8, "a", ONE, 10)
    story.ops[0] = replace(story.ops[0], outcome=("existing", 10, ONE))
    assert not story.ok, "then nobody would be the grant"
    story.ops[0] = replace(story.ops[0], outcome=("granted", 10, ONE), sent=1)
    assert story.ok


def test_a_repeat_is_told_what_became_of_its_grant(story: Story) -> None:
    """It was granted one, and somebody has made two of it meanwhile."""
    story.granted(0, 9, "a", TWO, 10, sent=2, asked=ONE)
    story.did(2, 3, "resize", ("a", 10, TWO), "resized", TWO)
    assert story.ok
    story.ops[0] = replace(story.ops[0], sent=1)
    assert not story.ok, "it was sent once"


def test_a_repeat_is_never_told_of_another_grant(story: Story) -> None:
    """Its own grant was shared, released, and made again for somebody else: it is lost."""
    lost = story.did(0, 19, "allocate", ("a", "me", ONE), "lost", sent=2)
    story.existing(2, 3, "a", ONE, 10)
    story.did(4, 5, "release", ("a", 0), "released")
    story.granted(6, 7, "a", ONE, 12)
    story.did(8, 9, "get", ("a",), "record", ("me", ONE, 12))
    assert story.ok
    for other in (("existing", 12, ONE), ("granted", 12, ONE)):
        story.ops[0] = replace(lost, outcome=other)
        assert not story.ok, other


def test_a_grant_that_is_over_is_not_made_again_by_its_repeat(story: Story) -> None:
    """One call has one effect."""
    story.granted(0, 19, "a", ONE, 12, sent=3)
    story.usage(2, 3, 1, 1)
    story.did(4, 5, "release", ("a", 0), "released")
    story.usage(6, 7, 0, 0)
    story.usage(20, 21, 1, 1)
    assert not story.ok


def test_what_was_sent_once_is_never_lost(story: Story) -> None:
    """There was no attempt before that could have been granted."""
    story.did(0, 1, "allocate", ("a", "me", ONE), "lost")
    assert not story.ok


def test_a_repeat_is_refused_only_where_there_is_no_room(story: Story) -> None:
    """Nothing is remembered of a refusal."""
    story.granted(0, 1, "a", FOUR, 10)
    refused = story.denied(2, 9, "b", 2, 4, sent=2)
    story.did(5, 6, "release", ("a", 0), "released")
    assert story.ok
    story.ops[1] = replace(refused, began=7)
    assert not story.ok


def test_what_was_refused_may_come_until_it_is_undone(story: Story) -> None:
    """The first attempt was held up; it is granted what its repeat was refused, and the undoing gives it back."""
    story.granted(0, 1, "a", FOUR, 10)
    refused = story.denied(2, 3, "b", 2, 4, sent=2)
    story.did(4, 5, "release", ("a", 0), "released")
    undo = story.did(2, 9, "undo", ("b", refused.number), "undone")
    story.usage(6, 7, 2, 1)
    story.usage(10, 11, 0, 0)
    assert story.ok
    story.usage(12, 13, 2, 1)
    assert not story.ok, "nothing of it comes any more"
    story.ops.pop()
    story.ops.remove(undo)
    assert not story.ok, "nobody has given it back"


def test_a_resize_has_one_effect(story: Story) -> None:
    """Its repeat is told how things stand, and does not undo what came after the first attempt."""
    story.granted(0, 1, "a", ONE, 10)
    story.did(2, 19, "resize", ("a", 10, TWO), "resized", THREE, sent=2)
    story.usage(4, 5, 2, 1)
    story.did(6, 7, "resize", ("a", 10, THREE), "resized", THREE)
    story.usage(20, 21, 3, 1)
    assert story.ok
    story.usage(22, 23, 2, 1)
    assert not story.ok


def test_a_release_is_told_again_that_it_was_one(story: Story) -> None:
    """Also where the id was granted again meanwhile, which it leaves alone."""
    story.granted(0, 1, "a", ONE, 10)
    story.did(2, 19, "release", ("a", 0), "released", sent=2)
    story.granted(4, 5, "a", TWO, 12)
    story.usage(20, 21, 2, 1)
    assert story.ok
    story.usage(22, 23, 0, 0)
    assert not story.ok


def test_a_caller_too_many_is_forgotten(story: Story) -> None:
    """Of four callers the undoing of the first finds nothing; with three it leaves what the others were told of."""
    first = story.doubt(0, "allocate", ("a", "me", ONE))
    story.existing(2, 3, "a", ONE, 10)
    story.existing(4, 5, "a", ONE, 10)
    story.existing(6, 7, "a", ONE, 10)
    story.did(8, 9, "undo", ("a", first.number), "undone")
    story.usage(10, 11, 1, 1)
    assert story.ok


@pytest.mark.parametrize(("others", "is_possible"), [(2, False), (3, True)])
def test_a_caller_that_was_forgotten_is_told_that_it_is_lost(story: Story, others: int, is_possible: bool) -> None:
    """Its first attempt was told of the allocation, to nobody; it has ended where three more were told since."""
    story.granted(0, 1, "a", ONE, 1)
    story.did(2, 19, "allocate", ("a", "me", ONE), "lost", sent=2)
    for at in range(others):
        story.existing(4 + 2 * at, 5 + 2 * at, "a", ONE, 1)
    story.usage(20, 21, 1, 1)
    assert story.ok is is_possible


def test_fences_that_nobody_heard_of_lie_between_those_that_were(story: Story) -> None:
    """A grant between two others has a fence between theirs."""
    story.granted(0, 1, "a", ONE, 10)
    story.doubt(2, "allocate", ("b", "me", ONE))
    story.usage(4, 5, 2, 2)
    story.granted(6, 7, "c", ONE, 12)
    story.did(8, 9, "get", ("b",), "record", ("me", ONE, 11))
    assert story.ok
    story.ops[-1] = replace(story.ops[-1], outcome=("record", ("me", ONE, 13)))
    assert not story.ok


@pytest.mark.parametrize("took_effect", [True, False])
def test_what_nobody_heard_of_may_have_happened_or_not(story: Story, took_effect: bool) -> None:
    """At any time after it began."""
    story.doubt(0, "allocate", ("a", "me", TWO))
    story.usage(2, 3, 0, 0)
    story.usage(4, 5, 2 * took_effect, 1 * took_effect)
    assert story.ok


def test_what_nobody_heard_of_happens_once(story: Story) -> None:
    """It came, was undone, and may not come again."""
    unheard = story.doubt(0, "allocate", ("a", "me", TWO))
    story.usage(2, 3, 2, 1)
    story.doubt(1, "undo", ("a", unheard.number))
    story.usage(4, 5, 0, 0)
    assert story.ok
    story.usage(6, 7, 2, 1)
    assert not story.ok


@pytest.mark.parametrize("unheard_first", [True, False])
def test_what_was_told_to_another_is_not_undone(story: Story, unheard_first: bool) -> None:
    """Two callers of one id: the undoing of one ends only what is its alone."""
    unheard = story.doubt(0, "allocate", ("a", "me", TWO))
    story.did(1, 5, "undo", ("a", unheard.number), "undone")
    if unheard_first:
        story.existing(2, 3, "a", TWO, 10)
    else:
        story.granted(2, 3, "a", TWO, 10)
    story.usage(6, 7, 2, 1)
    assert story.ok
    story.usage(8, 9, 0, 0)
    assert not story.ok


def test_a_window_that_has_no_order_is_shown_small(story: Story) -> None:
    """Of a long history: up to the first answer that cannot be, with what was at the same time."""
    for turn in range(50):
        story.granted(10 * turn, 10 * turn + 1, f"a{turn}", ONE, 100 + turn)
        story.did(10 * turn + 2, 10 * turn + 3, "release", (f"a{turn}", 0), "released")
    story.granted(501, 509, "over", THREE, 200)
    story.granted(502, 508, "there", TWO, 201)
    for turn in range(50):
        story.did(1000 + turn, 1000 + turn, "get", ("nobody",), "record", None)
    told = explain(story.ops, model())
    assert told.startswith("no order of 102 of 152 operations")
    assert "over" in told
    assert "there" in told
    assert "nobody" not in told
    assert len(told.splitlines()) < 20


def test_a_search_that_is_too_long_is_no_pass(story: Story) -> None:
    """Neither yes nor no."""
    for at in range(12):
        story.doubt(at, "allocate", (f"a{at}", "me", ONE))
    story.usage(50, 51, 4, 7)
    with pytest.raises(TooLong, match="more than 100 states"):
        check(story.ops, model(), steps_max=100)


@pytest.mark.parametrize("seed", range(20))
def test_a_history_that_was_made_of_an_order_has_one(seed: int) -> None:
    """Random operations at known instants, with intervals around them that overlap; then one answer is changed."""
    chooser = random.Random(seed)
    ops = _made(chooser, 60)
    assert check(ops, model()), explain(ops, model())
    readings = [at for at, op in enumerate(ops) if op.verb == "usage"]
    lie = ops[chooser.choice(readings)]
    counters = dict(lie.outcome[1])
    lie.outcome = ("counters", (("cpu", counters["cpu"] + 7),), lie.outcome[2])
    assert not check(ops, model())


def _made(chooser: random.Random, count: int) -> list[Op]:
    live: dict[str, tuple[Any, int]] = {}
    ops: list[Op] = []
    for number in range(1, count + 1):
        verb, name, wanted = chooser.choice(["allocate", "release", "usage"]), f"a{number}", chooser.randint(1, 4)
        used = sum(amounts[0][1] for amounts, _ in live.values())
        args: tuple[Any, ...] = ()
        told: tuple[Any, ...]
        if verb == "allocate":
            args, told = (name, "me", (("cpu", wanted),)), ("denied", ("cpu", wanted, used, 4))
            if used + wanted <= 4:
                told = ("granted", 100 + number, args[2])
                live[name] = (args[2], 100 + number)
        elif verb == "release":
            name = chooser.choice([*live, "nobody"])
            args, told = (name, 0), ("released" if live.pop(name, None) else "unknown",)
        else:
            told = ("counters", (("cpu", used),), len(live))
        at = 100 * number
        ops.append(Op(number, 0, POOL, verb, args, at - chooser.randint(1, 300), at + chooser.randint(1, 300), told))
    return ops
