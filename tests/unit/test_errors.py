"""Which errors are worth another call."""

from __future__ import annotations

import pytest

from allocator import AllocationLost, Allocator, BackendError, BackendUnavailable, Insufficient, Recovering, Request
from allocator._engine.operations.allocate import ValidRequest, answer_of
from allocator._engine.protocol.keys import pool_keys
from allocator.denials import Denial, Shortage


def test_a_grant_that_ended_before_its_reply_is_worth_a_new_call() -> None:
    """It gets what stands; any other loss is final."""
    wanted = ValidRequest.validate(Request({"cpu": 1}, ttl=60, id="a"), "me")
    error = answer_of(pool_keys("lab", "allocator"), wanted, ["ended", 5])
    assert isinstance(error, AllocationLost)
    assert error.retryable
    assert not AllocationLost("another grant's now", id="a", code="fenced").retryable


def test_what_never_fits_is_not_worth_another_call() -> None:
    """The pool would have to be configured differently; what is full now may have room later."""
    shortages = (Shortage("cpu", 5000, 0, 4000),)
    assert Insufficient(Denial("capacity_exceeded", "lab", shortages)).retryable
    for code in ("never_fits", "unknown_resource", "constraint_violation"):
        assert not Insufficient(Denial(code, "lab", shortages)).retryable


def test_what_no_server_can_end_is_not_worth_another_call() -> None:
    """An extra that is not installed, or a client that is closed; a server that is down may come back."""
    assert BackendUnavailable("down").retryable
    assert not BackendUnavailable("memory:// needs an extra", code="no_extra").retryable
    assert not BackendUnavailable("no server program", code="no_server").retryable
    client = Allocator.from_url("redis://localhost:1")
    client.close()
    with pytest.raises(BackendUnavailable) as caught:
        client.get("a")
    assert (caught.value.code, caught.value.retryable) == ("closed", False)


def test_a_server_that_lost_data_is_a_server_in_trouble() -> None:
    """A program that waits for a server that is down waits for its recovery, too."""
    error = Recovering("pool 'lab' recovers", retry_after=2.5)
    assert isinstance(error, BackendError)
    assert (error.code, error.retryable, error.retry_after) == ("recovering", True, 2.5)
