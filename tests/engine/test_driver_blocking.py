"""What the blocking driver does alone: threads, interruptions, and undos in the background."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from allocator import settings
from allocator._engine.execution.driver import Driver
from allocator._engine.execution.undo_queue import UndoQueue
from allocator._engine.transport.urls import resolve_target
from allocator.errors import OutcomeUnknown
from tests.support.drivers import count, count_all, error_of, executed, is_undone, keys_of, new_item
from tests.support.proxy import Fault, FaultProxy
from tests.support.servers import Server
from tests.support.waiting import wait_until


@pytest.fixture
def driver(proxy: FaultProxy) -> Iterator[Driver]:
    """A driver behind the proxy, already connected."""
    driver = Driver(resolve_target(proxy.url, attempt_timeout_s=0.3), deadline_s=5.0)
    driver.run(count())
    yield driver
    driver.close()


def in_background(work: Callable[[], object]) -> threading.Thread:
    """Run something in another thread."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_threads_share_a_driver(driver: Driver, proxy: FaultProxy, one_server: Server) -> None:
    """Also while replies are being lost: nobody gets another's reply."""
    proxy.arm(Fault.RESET_AFTER, match=b"EVALSHA", times=10)
    items = [[new_item() for _ in range(25)] for _ in range(8)]
    replies: dict[str, list[object]] = {}

    def work(mine: list[object]) -> None:
        for item in mine:
            replies[item.call] = driver.run(count(item))  # type: ignore[attr-defined]

    for thread in [in_background(lambda mine=mine: work(mine)) for mine in items]:
        thread.join()
    flat = [item for group in items for item in group]
    assert [replies[item.call][0] for item in flat] == [item.call for item in flat]
    assert sum(executed(one_server, item) for item in flat) == len(flat) + 10


@pytest.mark.parametrize("many", [False, True])
def test_an_interrupted_call_is_undone(driver: Driver, proxy: FaultProxy, one_server: Server, many: bool) -> None:
    """Ctrl-C while the reply is awaited: the caller never hears what was granted, in earlier batches neither."""
    items = [new_item() for _ in range(150 if many else 1)]
    proxy.swallow(match=items[-1].call.encode() + b"\r\n")

    def interrupt() -> None:
        proxy.wait_fired()
        os.kill(os.getpid(), signal.SIGINT)

    thread = in_background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        driver.run(count_all(*items))
    thread.join()
    wait_until(lambda: all(is_undone(one_server, item) for item in items))
    assert driver.run(count())[1] == 0


def test_undos_wait_for_the_store_to_come_back(driver: Driver, proxy: FaultProxy, one_server: Server) -> None:
    """In the background, each in its turn; the thread ends when there are none left."""
    items = [new_item("adrift") for _ in range(3)]
    proxy.arm(Fault.SWALLOW, match=b"adrift", times=100)
    for item in items:
        assert isinstance(error_of(lambda item=item: driver.run(count(item), deadline_s=0.05)), OutcomeUnknown)
        proxy.down()
        proxy.up()
    proxy.down()
    proxy.clear()
    proxy.up()
    wait_until(lambda: all(is_undone(one_server, item) for item in items))
    wait_until(lambda: all(thread.name != "allocator-undo" for thread in threading.enumerate()))


def test_closing_takes_a_bounded_time_and_logs_what_is_left(
    driver: Driver, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The ids, for a person to look after; the store does not come back in time."""
    monkeypatch.setattr(settings, "CLOSE_FLUSH_S", 0.1)
    item = new_item("adrift")
    proxy.arm(Fault.SWALLOW, match=b"EVAL", times=100)
    error_of(lambda: driver.run(count(item), deadline_s=0.05))
    began = time.monotonic()
    driver.close()
    assert time.monotonic() - began < 1.0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"lab/{item.id}" in caplog.text


def test_a_call_that_outlives_its_client_is_undone_all_the_same(
    driver: Driver, proxy: FaultProxy, one_server: Server
) -> None:
    """Another thread's, still ambiguous when the client was closed."""
    item = new_item("adrift")
    armed = proxy.arm(Fault.SWALLOW, match=b"adrift", times=100)
    errors: list[Exception] = []
    caller = in_background(lambda: errors.append(error_of(lambda: driver.run(count(item), deadline_s=0.5))))
    wait_until(lambda: armed.fired)
    driver.close()
    caller.join()
    assert [type(error) for error in errors] == [OutcomeUnknown]
    wait_until(lambda: is_undone(one_server, item))


def test_a_call_that_outlives_its_client_and_its_store_is_logged(
    driver: Driver, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: for a person to look after."""
    monkeypatch.setattr(settings, "CLOSE_FLUSH_S", 0.1)
    item = new_item("adrift")
    armed = proxy.arm(Fault.SWALLOW, match=b"EVAL", times=100)
    caller = in_background(lambda: error_of(lambda: driver.run(count(item), deadline_s=0.3)))
    wait_until(lambda: armed.fired)
    driver.close()
    caller.join()
    wait_until(lambda: caplog.records)
    wait_until(lambda: all(thread.name != "allocator-undo" for thread in threading.enumerate()))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"lab/{item.id}" in caplog.text


def test_a_call_ends_within_its_deadline_though_the_server_is_silent(driver: Driver, proxy: FaultProxy) -> None:
    """The wait for the last attempt's reply is cut to what remains."""
    proxy.arm(Fault.SWALLOW, match=b"EVALSHA", times=100)
    began = time.monotonic()
    error_of(lambda: driver.run(count(), deadline_s=0.4))
    assert time.monotonic() - began < 0.4 + 0.15
    proxy.clear()


# -- the queue of undos ------------------------------------------------------------------------------------------------


def test_undos_are_taken_by_pool_and_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """One script call takes those of one pool, in order; what could not be sent goes back in its place."""
    monkeypatch.setattr(settings, "BATCH_ITEMS_MAX", 2)
    queue = UndoQueue()
    items = [new_item() for _ in range(5)]
    queue.add(keys_of("a"), items[:3])
    queue.add(keys_of("b"), items[3:])
    first = queue.next_batch()
    assert [(one.pool.name, one.call) for one in first] == [("a", item.call) for item in items[:2]]
    queue.put_back(first)
    groups = [queue.next_batch() for _ in range(4)]
    assert [[one.call for one in group] for group in groups] == [
        [items[0].call, items[1].call],
        [items[2].call],
        [items[3].call, items[4].call],
        [],
    ]


def test_what_has_no_call_id_is_not_undone() -> None:
    """There is nothing to mark as ended."""
    queue = UndoQueue()
    nameless = new_item()
    object.__setattr__(nameless, "call", "")
    assert not queue.add(keys_of("a"), [nameless])
    assert len(queue) == 0


def test_the_queue_is_bounded_in_length_and_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest go first, with a log line that names them."""
    monkeypatch.setattr(settings, "UNDO_QUEUE_MAX", 2)
    queue = UndoQueue()
    items = [new_item() for _ in range(3)]
    queue.add(keys_of("a"), items)
    assert len(queue) == 2
    assert f"a/{items[0].id}" in caplog.text
    monkeypatch.setattr(settings, "UNDO_FOR_S", -1.0)
    queue.add(keys_of("a"), [new_item()])
    assert [one.call for one in queue.next_batch()] == [items[2].call]
    assert "for too long" in caplog.text
