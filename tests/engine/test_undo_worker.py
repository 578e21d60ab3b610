"""How queued undos are tried, refused, tried again and given up, in the background of both drivers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from allocator._engine.execution.undo_worker import UndoWorker
from allocator._engine.execution.undo_worker_async import AsyncUndoWorker
from allocator._engine.protocol.flows import Call
from allocator._engine.transport.failures import AttemptFailure
from allocator.errors import BackendUnavailable, ContractError
from tests.support.drivers import POOL, new_item
from tests.support.waiting import wait_until, wait_until_async

DISK_FULL = AttemptFailure(BackendUnavailable("takes no writes while it cannot save its data", code="misconf"))
"""A refusal that does not pass soon; nothing was executed."""

REFUSED = AttemptFailure(ContractError("not so"), from_script=True)
"""The script's own reply."""


class Store:
    """Takes undos, after it has failed with each of these once."""

    def __init__(self, *faults: AttemptFailure) -> None:
        self._faults = list(faults)
        self.taken: list[str] = []

    def perform(self, call: Call, _until: float) -> None:
        if self._faults:
            raise self._faults.pop(0)
        self.taken += [item.call for item in call.items]

    async def perform_async(self, call: Call, until: float) -> None:
        self.perform(call, until)


def undo(kind: str, store: Store, count: int, done: Callable[[], object]) -> list[str]:
    """Have so many items undone, wait until it is done, and return their calls."""
    items = [new_item() for _ in range(count)]
    if kind == "sync":
        worker = UndoWorker(store.perform)
        worker.add(POOL, items)
        wait_until(done)
        worker.close()
    else:

        async def story() -> None:
            worker = AsyncUndoWorker(store.perform_async, asyncio.get_running_loop())
            worker.add(POOL, items)
            await wait_until_async(done)
            await worker.close(1.0)

        asyncio.run(story())
    return [item.call for item in items]


def test_an_undo_waits_out_whatever_state_the_store_is_in(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk, credentials that are being changed: also what does not pass within a call's time."""
    store = Store(DISK_FULL, DISK_FULL)
    calls = undo(kind, store, 2, lambda: store.taken)
    assert store.taken == calls
    assert not caplog.records


def test_an_undo_that_the_script_refuses_is_given_up_alone(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It would be refused again; the others of its batch shall not suffer, and a person is told which it was."""
    store = Store(REFUSED, REFUSED)
    calls = undo(kind, store, 3, lambda: store.taken[1:])
    assert store.taken == calls[1:]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "not so" in caplog.text


async def test_what_comes_too_late_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """After `close` there is no task that would send it, and the loop may end at any time."""
    store, item = Store(), new_item()
    worker = AsyncUndoWorker(store.perform_async, asyncio.get_running_loop())
    await worker.close(1.0)
    worker.add(POOL, [item])
    assert not worker.queue
    assert f"lab/{item.id}" in caplog.text
    assert "a lease that was granted stays until its deadline, a pinned allocation until it is released" in caplog.text


def test_what_no_thread_can_be_started_for_is_undone_by_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cleaning up does not need what has just failed."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    store = Store()
    worker, items = UndoWorker(store.perform), [new_item(), new_item()]
    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", start)
        worker.add(POOL, items)
        assert not store.taken
        worker.close()
    assert store.taken == [item.call for item in items]
