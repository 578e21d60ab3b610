"""Errors are pickled and copied whole: a pool of processes, a task queue and a retry library do so."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from allocator import errors
from allocator.denials import Denial, Shortage
from allocator.errors import (
    AllocationConflict,
    AllocationLost,
    AllocatorError,
    BackendUnavailable,
    ContractError,
    Insufficient,
    InvalidQuantity,
    InvalidRequest,
    InvariantError,
    NotDurable,
    OutcomeUnknown,
    PoolConflict,
    QuotaExceeded,
    ReconcileRefused,
    Recovering,
    RequestWithdrawn,
    UnknownAllocation,
    UnknownPool,
    UnknownScope,
    WaitTimeout,
)

DENIAL = Denial("never_fits", "lab", (Shortage("cpu", 5000, 0, 4000),), 3)

ERRORS: list[AllocatorError] = [
    AllocatorError("why", code="own", retry_after=1.5),
    InvalidRequest("why", field="ttl", code="ttl_too_long"),
    InvalidQuantity("why", field="cpu"),
    Insufficient(DENIAL),
    QuotaExceeded(DENIAL),
    UnknownPool("why", pool="lab", code="pool_lost"),
    UnknownScope("why", pool="lab", scope="team-a/alice"),
    UnknownAllocation("why", id="a"),
    AllocationConflict("why", id="a"),
    AllocationLost("why", id="a", code="fenced"),
    PoolConflict("why", pool="lab", code="generation"),
    WaitTimeout(DENIAL),
    RequestWithdrawn("why", id="a"),
    Recovering("why", code="offline", retry_after=1.0),
    errors.BackendError("why"),
    BackendUnavailable("why", code="auth"),
    OutcomeUnknown("why", id="a"),
    NotDurable("why", reached="replicated:1"),
    ReconcileRefused("why", would_release=3, owned=4, max_released=2),
    ContractError("why", code="schema"),
    InvariantError("why"),
]

WAYS: list[Callable[[AllocatorError], AllocatorError]] = [
    *(lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol)) for protocol in range(6)),
    copy.copy,
    copy.deepcopy,
]


def test_each_public_error_is_tried() -> None:
    """A new class belongs into the list above."""
    assert {type(error).__name__ for error in ERRORS} == set(errors.__all__)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_says_the_same_after_its_journey(error: AllocatorError) -> None:
    """Its class, its message and every attribute, also one that a program has set and a note that it has added."""
    error.retryable = not error.retryable
    error.add_note("seen by replica 2")
    for way in WAYS:
        other = way(error)
        assert type(other) is type(error)
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_pickle_names_the_public_module(error: AllocatorError) -> None:
    """It is found there, wherever the class is written."""
    assert type(error).__module__ == "allocator.errors"
    assert getattr(errors, type(error).__name__) is type(error)
