"""What the crash stage lets a killed server lose: nothing, the last seconds, or what was cut off; always the end."""

from __future__ import annotations

import pytest

from tests.soak.stage_crash import PUT_OFF_S, Plan, judged
from tests.support.servers import Engine

ALWAYS = Plan(Engine.VALKEY9, "always")
EVERYSEC = Plan(Engine.VALKEY9, "everysec")
TORN = Plan(Engine.VALKEY9, "everysec", torn=True)

KILLED_AT = 100.0
TOLD = {"old": KILLED_AT - PUT_OFF_S - 1.0, "late": KILLED_AT - 1.0, "last": KILLED_AT - 0.001}
ALL = frozenset(TOLD)
NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("plan", "kept", "lost"),
    [
        (ALWAYS, "old late last", 0),
        (EVERYSEC, "old late last", 0),
        (EVERYSEC, "old late", 1),
        (EVERYSEC, "old", 2),
        (TORN, "", 3),
    ],
    ids=str,
)
def test_the_end_may_be_lost_where_the_setting_allows_it(plan: Plan, kept: str, lost: int) -> None:
    """And it is counted."""
    assert judged(plan, TOLD, set(kept.split()), NONE, KILLED_AT) == lost


@pytest.mark.parametrize(
    ("plan", "kept"),
    [(ALWAYS, "old late"), (EVERYSEC, ""), (EVERYSEC, "old last"), (TORN, "late last")],
    ids=str,
)
def test_more_than_the_end_may_not(plan: Plan, kept: str) -> None:
    """Nor what was confirmed long ago, nor anything before what is still there."""
    with pytest.raises(AssertionError, match="lost"):
        judged(plan, TOLD, set(kept.split()), NONE, KILLED_AT)


def test_a_lost_release_brings_back_what_was_given_back_and_nothing_else() -> None:
    """With `always` a release that was confirmed stays, too."""
    assert judged(EVERYSEC, TOLD, ALL | {"before"}, {"before"}, KILLED_AT) == 0
    for plan, given_back in ((ALWAYS, {"before"}), (EVERYSEC, NONE), (TORN, NONE)):
        with pytest.raises(AssertionError, match="nobody was told of"):
            judged(plan, TOLD, ALL | {"before"}, given_back, KILLED_AT)
