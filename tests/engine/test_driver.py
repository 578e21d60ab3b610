"""Both drivers, on real servers: what is executed how often, and what the caller is told."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest

from allocator import settings
from allocator._engine.protocol.flows import Call, Flow, Operation, Sleep
from allocator.errors import BackendUnavailable, OutcomeUnknown
from tests.support.drivers import (
    COUNTS,
    POOL,
    READ,
    Open,
    count,
    count_all,
    error_of,
    executed,
    is_undone,
    new_item,
    read,
)
from tests.support.proxy import Fault, FaultProxy
from tests.support.servers import Server

EVAL = b"EVAL"
"""EVALSHA, and EVAL where the server does not have the script yet."""

LOST = [Fault.RESET_AFTER, Fault.SWALLOW]
"""The two ways to lose the reply of a call that was executed."""

# -- replies -----------------------------------------------------------------------------------------------------------


def test_an_operation_is_performed_on_every_engine(drive: Open, server: Server) -> None:
    """The simplest case, and the first EVALSHA after SCRIPT FLUSH."""
    item = new_item()
    assert drive(server.url).run(count(item)) == [item.call, 0, 1, "fine", "0"]
    assert executed(server, item) == 1


@pytest.mark.parametrize("protocol", [2, 3])
def test_replies_are_the_same_in_both_protocols(drive: Open, one_server: Server, protocol: int) -> None:
    """A script's reply is nested lists of str and int, whatever is spoken."""
    item = new_item()
    assert drive(f"{one_server.url}?protocol={protocol}").run(count(item)) == [item.call, 0, 1, "fine", "0"]


def test_items_are_answered_in_order(drive: Open, one_server: Server) -> None:
    """One entry per item, whether or not the call may be gathered."""
    side = drive(one_server.url)
    items = [new_item() for _ in range(7)]
    for gather in (True, False):
        assert [entry[0] for entry in side.run(count_all(*items, gather=gather))] == [item.call for item in items]


def test_a_call_without_items_is_answered_raw(drive: Open, one_server: Server) -> None:
    """Readings have no items."""
    side = drive(one_server.url)
    side.run(count())
    assert side.run(read()) == 1


@pytest.mark.parametrize("length", [10, 5000])
def test_a_call_of_many_items_is_cut_into_script_calls(drive: Open, proxy: FaultProxy, length: int) -> None:
    """A server is not held up for longer than a batch takes, nor given more bytes than a batch has."""
    side = drive(proxy.url)
    side.run(count())
    before = proxy.counts["requests"]
    items = [new_item("x" * length) for _ in range(230)]
    assert [entry[:3] for entry in side.run(count_all(*items))] == [[item.call, 0, 1] for item in items]
    assert proxy.counts["requests"] - before == (3 if length == 10 else pytest.approx(20, abs=6))


def test_the_clock_of_a_test_is_what_the_scripts_see(drive: Open, one_server: Server) -> None:
    """Without one, they are told 0 and ask the server."""
    assert drive(one_server.url, clock=lambda: 12345).run(count())[4] == "12345"
    assert drive(one_server.url).run(count())[4] == "0"


def test_a_script_that_the_server_has_forgotten_is_sent_again(
    drive: Open, proxy: FaultProxy, one_server: Server
) -> None:
    """After a restart or a failover, with EVAL, on the same connection, within the same attempt."""
    side = drive(proxy.url)
    side.run(count())
    one_server.ask("SCRIPT", "FLUSH")
    item, before = new_item(), proxy.counts
    assert side.run(count(item)) == [item.call, 0, 1, "fine", "0"]
    assert proxy.counts["requests"] - before["requests"] == 2
    assert proxy.counts["connections"] == before["connections"]


def test_a_connection_that_the_server_closed_is_noticed_before_sending(
    drive: Open, proxy: FaultProxy, one_server: Server
) -> None:
    """So that no call is ambiguous without need: the next call is a first attempt on a new connection."""
    side = drive(proxy.url)
    side.run(count())
    proxy.drop_connections()
    looks = itertools.count(1)
    side.wait_until(lambda: next(looks) > 3 and one_server.info("clients")["connected_clients"] == "1")
    assert side.run(count())[1] == 0


# -- lost replies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("gather", [True, False])
def test_a_lost_reply_is_asked_for_again_with_the_same_ids(
    drive: Open, proxy: FaultProxy, one_server: Server, fault: Fault, gather: bool
) -> None:
    """Executed twice, the second time marked as a repeat, and answered once."""
    side = drive(proxy.url)
    side.run(count())
    proxy.arm(fault, match=EVAL)
    item = new_item()
    assert side.run(count_all(item, gather=gather)) == [[item.call, 1, 2, "fine", "0"]]
    assert executed(one_server, item) == 2
    assert not is_undone(one_server, item)


def test_a_request_that_never_arrived_is_marked_as_a_repeat_all_the_same(
    drive: Open, proxy: FaultProxy, one_server: Server
) -> None:
    """From here it looks like a lost reply."""
    side = drive(proxy.url)
    side.run(count())
    proxy.reset_before(match=EVAL)
    item = new_item()
    assert side.run(count(item)) == [item.call, 1, 1, "fine", "0"]


@pytest.mark.parametrize("gather", [True, False])
def test_a_call_that_is_ambiguous_until_the_deadline_is_told_and_undone(
    drive: Open, proxy: FaultProxy, one_server: Server, gather: bool
) -> None:
    """The caller learns which allocation it is about; what was granted does not stay."""
    side = drive(proxy.url, deadline_s=0.5, attempt_timeout_s=0.2)
    item = new_item()
    side.run(count())
    proxy.arm(Fault.SWALLOW, match=item.call.encode(), times=100)
    began = time.monotonic()
    error = error_of(lambda: side.run(count_all(item, gather=gather)))
    assert isinstance(error, OutcomeUnknown)
    assert error.id == item.id
    assert error.__cause__ is not None
    assert time.monotonic() - began < 0.5 + 0.2 + 0.3
    assert executed(one_server, item) >= 2
    proxy.clear()
    side.wait_until(lambda: is_undone(one_server, item))


def test_a_refusal_after_a_lost_reply_is_no_answer(drive: Open, proxy: FaultProxy, one_server: Server) -> None:
    """The server is gone when the call is repeated; whether the first attempt was executed remains unknown."""
    side = drive(proxy.url, deadline_s=0.4, attempt_timeout_s=0.2)
    item = new_item()
    side.run(count())
    proxy.swallow(match=item.call.encode())

    def go_down() -> None:
        proxy.wait_fired()
        proxy.down()

    fall = threading.Thread(target=go_down)
    fall.start()
    assert isinstance(error_of(lambda: side.run(count(item))), OutcomeUnknown)
    fall.join()
    proxy.up()
    side.wait_until(lambda: is_undone(one_server, item))


def test_a_reading_is_never_ambiguous(drive: Open, proxy: FaultProxy) -> None:
    """It changes nothing, so there is nothing to be unsure of."""
    side = drive(proxy.url, deadline_s=0.3, attempt_timeout_s=0.1)
    side.run(count())
    proxy.arm(Fault.SWALLOW, match=EVAL, times=100)
    assert type(error_of(lambda: side.run(read()))) is BackendUnavailable


def test_a_server_that_is_not_there_is_unavailable_and_leaves_no_doubt(drive: Open, proxy: FaultProxy) -> None:
    """Nothing was sent: the caller may be told for sure, and nothing is undone."""
    proxy.close()
    side = drive(proxy.url, deadline_s=0.2)
    began = time.monotonic()
    error = error_of(lambda: side.run(count()))
    assert type(error) is BackendUnavailable
    assert error.code == "unavailable"
    assert time.monotonic() - began < 0.5


def test_a_server_that_comes_back_within_the_deadline_is_waited_for(drive: Open, one_server: Server) -> None:
    """A restart is no failure of the call."""
    side = drive(one_server.url)
    side.run(count())
    one_server.kill()

    def back(_: Any) -> Flow[Any]:
        yield Sleep(0)
        return (yield from count())

    error_of(lambda: side.run(count(), deadline_s=0.1))
    one_server.restart()
    assert side.run(back(None))[2] == 1


def test_what_there_is_no_time_for_is_not_sent(drive: Open, proxy: FaultProxy, one_server: Server) -> None:
    """A call of many items has one deadline: with the first batch it is over, so the others were not executed."""
    side = drive(proxy.url, deadline_s=0.3, attempt_timeout_s=0.3)
    side.run(count())
    items = [new_item() for _ in range(settings.BATCH_ITEMS_MAX * 3)]
    proxy.arm(Fault.SWALLOW, match=EVAL, times=1000)
    entries: list[Any] = side.run(count_all(*items))
    first, others = entries[: settings.BATCH_ITEMS_MAX], entries[settings.BATCH_ITEMS_MAX :]
    assert {type(entry) for entry in first} == {OutcomeUnknown}
    assert {(type(entry), entry.code) for entry in others} == {(BackendUnavailable, "timeout")}
    assert not any(executed(one_server, item) for item in items[settings.BATCH_ITEMS_MAX :])
    proxy.clear()
    side.wait_until(lambda: is_undone(one_server, items[0]))
    assert not is_undone(one_server, items[-1])


# -- states of the server ----------------------------------------------------------------------------------------------


def test_a_replica_is_refused_until_it_is_promoted(drive: Open, one_server: Server) -> None:
    """READONLY passes: within the deadline it is waited out, beyond it the call was not executed."""
    side = drive(one_server.url, deadline_s=0.2)
    side.run(count())
    one_server.ask("REPLICAOF", "127.0.0.1", "1")
    try:
        error = error_of(lambda: side.run(count()))
        assert (type(error), error.code) == (BackendUnavailable, "readonly")
    finally:
        one_server.ask("REPLICAOF", "NO", "ONE")
    assert side.run(count())[1] == 0


def test_too_few_replicas_are_waited_for(drive: Open, one_server: Server) -> None:
    """NOREPLICAS: nothing was written."""
    side = drive(one_server.url, deadline_s=0.2)
    one_server.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    item = new_item()
    try:
        error = error_of(lambda: side.run(count(item)))
        assert (type(error), error.code) == (BackendUnavailable, "no_replicas")
    finally:
        one_server.ask("CONFIG", "SET", "min-replicas-to-write", "0")
    assert executed(one_server, item) == 0


def test_a_full_server_is_told_at_once(drive: Open, one_server: Server) -> None:
    """Memory does not come back within milliseconds."""
    side = drive(one_server.url)
    side.run(count())
    one_server.ask("CONFIG", "SET", "maxmemory", "1")
    began = time.monotonic()
    try:
        error = error_of(lambda: side.run(count()))
    finally:
        one_server.ask("CONFIG", "SET", "maxmemory", "0")
    assert (type(error), error.code) == (BackendUnavailable, "oom")
    assert time.monotonic() - began < 1.0


def test_a_user_without_permission_is_told_at_once(drive: Open, server: Server) -> None:
    """On every engine, whether the command or what the script calls is denied."""
    server.ask("ACL", "SETUSER", "reader", "on", ">s3cr3t", "~*", "+@all", "-hincrby")
    server.ask("ACL", "SETUSER", "nobody", "on", ">s3cr3t", "~*", "+@connection", "+info")
    try:
        for user in ("reader", "nobody"):
            side = drive(server.url.replace("unix://", f"unix://{user}:s3cr3t@"))
            error = error_of(lambda side=side: side.run(count()))
            assert (type(error), error.code) == (BackendUnavailable, "no_permission")
            assert "s3cr3t" not in str(error)
    finally:
        server.ask("ACL", "DELUSER", "reader", "nobody")


# -- ends --------------------------------------------------------------------------------------------------------------


def test_a_closed_driver_says_so(drive: Open, one_server: Server) -> None:
    """Its connections are gone."""
    side = drive(one_server.url)
    side.run(count())
    side.close_driver()
    side.wait_until(lambda: one_server.info("clients")["connected_clients"] == "1")
    assert error_of(lambda: side.run(count())).code == "closed"
    side.close_driver()


def test_closing_sends_the_undos_first(drive: Open, proxy: FaultProxy, one_server: Server) -> None:
    """What is ambiguous does not outlive its client if that can be helped."""
    side = drive(proxy.url, deadline_s=0.2, attempt_timeout_s=0.1)
    side.run(count())
    item = new_item()
    proxy.arm(Fault.SWALLOW, match=item.call.encode(), times=100)
    error_of(lambda: side.run(count(item)))
    proxy.clear()
    side.close_driver()
    assert is_undone(one_server, item)


def test_a_reading_sees_nothing_of_a_call_that_was_refused(drive: Open, one_server: Server) -> None:
    """The probe of these tests itself: a refused call counts nothing."""
    side = drive(one_server.url)
    error_of(lambda: side.run(count(new_item("contract"))))
    assert side.run(Operation(Call(READ, POOL, (COUNTS,), ()), lambda reply: reply)) == [0]
