"""Which errors are worth another call."""

from __future__ import annotations

from allocator import AllocationLost, Insufficient, Request
from allocator._engine.operations.allocate import ValidRequest, _answer
from allocator._engine.protocol.keys import pool_keys
from allocator.denials import Denial, Shortage


def test_a_grant_that_ended_before_its_reply_is_worth_a_new_call() -> None:
    """It gets what stands; any other loss is final."""
    wanted = ValidRequest.validate(Request({"cpu": 1}, ttl=60, id="a"), "me")
    error = _answer(pool_keys("lab", "allocator"), wanted, ["ended", 5])
    assert isinstance(error, AllocationLost)
    assert error.retryable
    assert not AllocationLost("another grant's now", id="a", code="fenced").retryable


def test_what_never_fits_is_not_worth_another_call() -> None:
    """The pool would have to be configured differently; what is full now may have room later."""
    shortages = (Shortage("cpu", 5000, 0, 4000),)
    assert Insufficient(Denial("capacity_exceeded", "lab", shortages)).retryable
    for code in ("never_fits", "unknown_resource", "constraint_violation"):
        assert not Insufficient(Denial(code, "lab", shortages)).retryable
