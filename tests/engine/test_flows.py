"""Both drivers: what a script's own error reaches, and what a flow may ask for."""

from __future__ import annotations

import time
from typing import Any

import pytest

from allocator._engine.protocol.flows import Call, Flow, Operation, Scan, Sleep, TimeLeft
from allocator.errors import AllocatorError, ContractError, InvariantError, OutcomeUnknown
from tests.support.drivers import (
    COUNTS,
    POOL,
    Open,
    call_of,
    count,
    count_all,
    error_of,
    executed,
    is_undone,
    new_item,
    read,
    script,
)
from tests.support.proxy import Fault, FaultProxy
from tests.support.servers import Server

# -- errors of the script ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "kind"), [("contract", ContractError), ("invariant", InvariantError)])
def test_the_only_items_error_is_raised(drive: Open, one_server: Server, text: str, kind: type[AllocatorError]) -> None:
    """In a flow, too, where it can be caught."""
    side = drive(one_server.url)
    assert type(error_of(lambda: side.run(count(new_item(text))))) is kind

    def caught() -> Flow[str]:
        try:
            yield call_of(new_item(text))
        except AllocatorError as error:
            return f"{type(error).__name__} caught"
        return "not raised"

    assert side.run(caught()) == f"{kind.__name__} caught"


def test_an_error_reaches_only_its_owner(drive: Open, one_server: Server) -> None:
    """The batch is refused as a whole, so its items go one by one; each is executed once."""
    side = drive(one_server.url)
    items = [new_item(), new_item("invariant"), new_item(), new_item("contract"), new_item()]
    entries = side.run(count_all(*items))
    assert [type(entry) for entry in entries] == [list, InvariantError, list, ContractError, list]
    assert [executed(one_server, item) for item in items] == [1, 0, 1, 0, 1]


def test_an_indivisible_call_is_refused_as_one(drive: Open, one_server: Server) -> None:
    """`gather=False`: all or nothing."""
    side = drive(one_server.url)
    items = [new_item(), new_item("contract")]
    assert type(error_of(lambda: side.run(count_all(*items, gather=False)))) is ContractError
    assert [executed(one_server, item) for item in items] == [0, 0]


def test_an_unknown_outcome_takes_each_items_place(drive: Open, proxy: FaultProxy, one_server: Server) -> None:
    """A lost batch is unknown item by item, each under its own id, and undone as a whole."""
    side = drive(proxy.url, deadline_s=0.3, attempt_timeout_s=0.1)
    side.run(count())
    items = [new_item() for _ in range(3)]
    proxy.arm(Fault.SWALLOW, match=items[0].call.encode(), times=100)
    entries: list[Any] = side.run(count_all(*items))
    assert [(type(entry), entry.id) for entry in entries] == [(OutcomeUnknown, item.id) for item in items]
    proxy.clear()
    side.wait_until(lambda: all(is_undone(one_server, item) for item in items))


def test_an_error_inside_a_script_names_the_file_and_line(drive: Open, one_server: Server) -> None:
    """What a person edits, not what the server was sent."""
    broken = script("local nothing = nil\nreturn nothing.field", writes=False)
    error = error_of(lambda: drive(one_server.url).run(Operation(Call(broken, POOL, (COUNTS,), ()), list)))
    assert type(error) is ContractError
    assert "probe.lua:2" in str(error)


def test_a_key_of_the_wrong_type_is_broken_data(drive: Open, one_server: Server) -> None:
    """What the server says in the middle of a script is about the stored data."""
    one_server.ask("SET", COUNTS, "no hash")
    assert type(error_of(lambda: drive(one_server.url).run(count()))) is InvariantError


# -- flows -------------------------------------------------------------------------------------------------------------


def test_a_flow_is_told_its_steps_answers(drive: Open, one_server: Server) -> None:
    """Calls, pauses and the remaining time."""

    def story() -> Flow[tuple[int, float, float]]:
        before: float = yield TimeLeft()
        yield from count()
        yield Sleep(0.01)
        after: float = yield TimeLeft()
        return (yield from read()), before, after

    counted, before, after = drive(one_server.url, deadline_s=5.0).run(story())
    assert counted == 1
    assert 4.0 < after < before <= 5.0
    assert before - after >= 0.01


def test_a_pause_is_cut_to_what_remains(drive: Open, one_server: Server) -> None:
    """A flow that waits for longer than its caller does is not to make the caller wait."""

    def story() -> Flow[float]:
        yield Sleep(60.0)
        remaining: float = yield TimeLeft()
        return remaining

    began = time.monotonic()
    assert drive(one_server.url).run(story(), deadline_s=0.05) == 0.0
    assert time.monotonic() - began < 1.0


def test_a_flow_is_closed_in_any_case(drive: Open, one_server: Server) -> None:
    """Its `finally` runs, also when a step fails."""
    closed: list[str] = []

    def story() -> Flow[None]:
        try:
            yield call_of(new_item("contract"))
        finally:
            closed.append("yes")

    side = drive(one_server.url)
    error_of(lambda: side.run(story()))
    assert closed == ["yes"]


def test_a_scan_lists_each_key_once(drive: Open, one_server: Server) -> None:
    """Over all cursors, at most as many as wanted."""
    for number in range(25):
        one_server.ask("SET", f"allocator:{{p{number}}}:other", "x")
    side = drive(one_server.url)

    def scan(limit: int) -> Flow[list[str]]:
        keys: list[str] = yield Scan("allocator:{*}:other", limit)
        return keys

    assert sorted(side.run(scan(100))) == sorted(f"allocator:{{p{number}}}:other" for number in range(25))
    assert len(side.run(scan(10))) == 10
