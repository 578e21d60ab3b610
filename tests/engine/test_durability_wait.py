"""What is said, and done, of a change that was executed and did not become as safe as was asked for."""

from __future__ import annotations

from allocator._engine.execution.durability_wait import durability_not_reached
from allocator.durability import Durability
from allocator.errors import NotDurable

WANTED, REACHED = Durability.read("replicated:1"), Durability.read("memory")


def test_a_grant_is_given_back_and_its_caller_is_told_so() -> None:
    """It is undone as any ambiguous call is."""
    fault = durability_not_reached("here", WANTED, REACHED, undo=True)
    assert (type(fault.error), fault.ambiguous) == (NotDurable, True)
    assert str(fault.error) == "the grant reached durability memory, not replicated:1, in time on here; it is undone"


def test_any_other_change_stays_and_its_caller_is_told_so() -> None:
    """To take it back would end, or change, what is live: nothing is queued."""
    fault = durability_not_reached("here", WANTED, REACHED, undo=False)
    assert (type(fault.error), fault.ambiguous) == (NotDurable, False)
    assert str(fault.error) == "the change reached durability memory, not replicated:1, in time on here; it stays"
