"""Waiting for a message, both drivers: heard at once, never lost between two steps, and nothing is left behind."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from allocator import settings
from allocator._engine.execution.driver import Driver
from allocator._engine.protocol.flows import Flow, TimeLeft, Wake
from allocator._engine.transport.urls import resolve_target
from allocator.errors import AllocatorError, BackendUnavailable
from tests.support.drivers import POOL, Open, error_of, read
from tests.support.servers import Engine, Server
from tests.support.waiting import wait_until
from tests.support.wakes import LONG_S, SOON_S, Waiting, is_quiet, listeners, listens, publish, until_woken, waits


@pytest.fixture(autouse=True)
def _nothing_is_left(server: Server) -> Iterator[None]:
    """After each test."""
    yield
    wait_until(lambda: is_quiet(server), message="nobody listens any more")


@pytest.fixture
def _polls_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait for the second that a program waits."""
    monkeypatch.setattr(settings, "WAKE_POLL_S", 0.02)


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_message_wakes_the_waiting_call(drive: Open, server: Server, protocol: int) -> None:
    """Long before its time has passed, whatever protocol the other connections speak."""
    heard: list[bool] = []
    with Waiting(drive(f"{server.url}?protocol={protocol}"), until_woken("a", heard)) as waiting:
        wait_until(lambda: heard)
        began = time.monotonic()
        assert publish(server, "a") == 1
    assert time.monotonic() - began < SOON_S
    assert (waiting.error, heard) == (None, [False, True])


def test_the_first_step_subscribes_and_returns_at_once(drive: Open, server: Server) -> None:
    """What is published from then on is heard, also while the flow asks the store."""
    took: list[float] = []

    def flow() -> Flow[bool]:
        began = time.monotonic()
        first: bool = yield Wake(POOL, "a", LONG_S)
        assert not first
        assert publish(server, "a") == 1
        yield from read()
        second: bool = yield Wake(POOL, "a", LONG_S)
        took.append(time.monotonic() - began)
        return second

    assert drive(server.url).run(flow())
    assert took[0] < SOON_S


def test_a_wait_ends_when_its_time_has_passed(drive: Open, server: Server) -> None:
    """Each of them anew, and the next message is heard all the same."""

    def flow() -> Flow[list[bool]]:
        before = yield from waits(0.02, 0.02, 0.02)
        publish(server, "a")
        first: bool = yield Wake(POOL, "a", LONG_S)
        second: bool = yield Wake(POOL, "a", 0.02)
        return [*before, first, second]

    assert drive(server.url).run(flow()) == [False, False, False, True, False]


def test_a_message_wakes_the_call_that_it_names(drive: Open, server: Server) -> None:
    """And no other one that waits for the same pool."""
    heard: dict[str, list[bool]] = {"a": [], "b": []}
    with (
        Waiting(drive(server.url), until_woken("a", heard["a"])) as first,
        Waiting(drive(server.url), until_woken("b", heard["b"])) as second,
    ):
        wait_until(lambda: heard["a"] and heard["b"])
        publish(server, "a")
        wait_until(lambda: first.ended)
        assert heard == {"a": [False, True], "b": [False]}
        assert listens(server, "b")
        assert not second.ended
        publish(server, "b")


def test_one_flow_may_wait_for_several_calls(drive: Open, server: Server) -> None:
    """Each is subscribed by its first step, and stays so."""

    def flow() -> Flow[list[bool]]:
        results: list[bool] = []
        for call, is_subscribed in (("a", False), ("b", False), ("b", True), ("a", True)):
            assert not is_subscribed or publish(server, call) == 1
            woken: bool = yield Wake(POOL, call, LONG_S)
            results += [woken]
        return results

    assert drive(server.url).run(flow()) == [False, False, True, True]


def test_the_deadline_starts_anew_after_each_wait(drive: Open, server: Server) -> None:
    """A call may wait for longer than its requests may take."""

    def flow() -> Flow[list[float]]:
        left: list[float] = []
        for _ in range(3):
            yield Wake(POOL, "a", 0.25)
            left.append((yield TimeLeft()))
            yield from read()
        return left

    assert min(drive(server.url, deadline_s=0.2).run(flow())) > 0.15


# -- the end of a flow -------------------------------------------------------------------------------------------------


def test_an_error_in_the_flow_ends_the_subscription(drive: Open, server: Server) -> None:
    """The fixture looks; the driver is still open."""

    def flow() -> Flow[None]:
        yield Wake(POOL, "a", LONG_S)
        assert len(listeners(server)) == 1
        raise BackendUnavailable("so")

    side = drive(server.url)
    assert str(error_of(lambda: side.run(flow()))) == "so"
    side.wait_until(lambda: is_quiet(server))


def test_a_return_ends_the_subscription(drive: Open, server: Server) -> None:
    """Also that of a flow which never waited a second time."""

    def flow() -> Flow[None]:
        yield Wake(POOL, "a", LONG_S)

    side = drive(server.url)
    side.run(flow())
    side.wait_until(lambda: is_quiet(server))


@pytest.mark.usefixtures("_polls_quickly")
def test_a_closed_client_ends_the_wait_of_a_thread(server: Server) -> None:
    """The flow learns why, instead of waiting on."""
    driver, heard = Driver(resolve_target(server.url)), list[bool]()
    errors: list[AllocatorError] = []

    def wait() -> None:
        errors.append(error_of(lambda: driver.run(until_woken("a", heard, ask=False))))

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: heard)
    driver.close()
    thread.join()
    assert isinstance(errors[0], BackendUnavailable)
    assert errors[0].code == "closed"


def test_a_thread_that_waits_can_be_interrupted(server: Server) -> None:
    """By the keyboard, whatever its time."""
    driver, heard = Driver(resolve_target(server.url)), list[bool]()
    waits = threading.main_thread().ident
    assert waits == threading.get_ident()

    def interrupt() -> None:
        wait_until(lambda: heard and listens(server, "a"))
        signal.pthread_kill(waits, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        driver.run(until_woken("a", heard, ask=False))
    thread.join()
    assert time.monotonic() - began < LONG_S / 2
    wait_until(lambda: is_quiet(server))
    driver.close()


# -- no subscription ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_polls_quickly")
def test_a_lost_connection_is_replaced(drive: Open, server: Server) -> None:
    """The step returns, the flow asks, and the next step subscribes again."""
    heard: list[bool] = []
    with Waiting(drive(server.url), until_woken("a", heard)) as waiting:
        for _ in range(3):
            wait_until(lambda: listens(server, "a"))
            steps = len(heard)
            server.ask("CLIENT", "KILL", "TYPE", "pubsub")
            wait_until(lambda steps=steps: len(heard) >= steps + 2 and listens(server, "a"))
        began = time.monotonic()
        assert publish(server, "a") == 1
    assert time.monotonic() - began < SOON_S
    assert waiting.error is None


@pytest.mark.usefixtures("_polls_quickly")
def test_a_server_that_does_not_reply_is_noticed(drive: Open, server: Server) -> None:
    """A connection may be dead without a word: it is replaced, or each later message would be lost, too."""
    heard: list[bool] = []
    flow = until_woken("a", heard, seconds=0.3, ask=False)
    with Waiting(drive(server.url, attempt_timeout_s=0.1), flow) as waiting:
        wait_until(lambda: listens(server, "a"))
        before = listeners(server)
        server.stop_process()
        try:
            wait_until(lambda: len(heard) >= 4)
            assert not waiting.ended
        finally:
            server.cont()
        wait_until(lambda: listens(server, "a") and not set(listeners(server)) & set(before))
        wait_until(lambda: publish(server, "a") == 1)
    assert waiting.error is None


def _refusals(server: Server) -> int:
    """How many commands the server has refused for want of a right."""
    told = server.info("errorstats").get("errorstat_NOPERM", "count=0")
    return int(told.partition("=")[2])


@pytest.mark.usefixtures("_polls_quickly")
@pytest.mark.parametrize("rules", [("resetchannels",), ("allchannels", "-ssubscribe")])
def test_who_may_not_listen_polls(drive: Open, server: Server, rules: tuple[str, ...]) -> None:
    """It is not tried again in the same flow, and raises nothing."""
    server.ask("ACL", "SETUSER", "deaf", "on", ">secret", "~*", "+@all", *rules)
    try:
        side = drive(server.url.replace("unix://", "unix://deaf:secret@"))
        before = _refusals(server)
        assert side.run(waits(*[LONG_S] * 4)) == [False] * 4
        assert _refusals(server) - before == 1
    finally:
        server.ask("ACL", "DELUSER", "deaf")


class EarlierServer(Server):
    """A server without sharded channels, as before Redis 7."""

    def _command_line(self) -> list[str]:
        return [*super()._command_line(), "--rename-command", "SSUBSCRIBE", ""]


@pytest.mark.usefixtures("_polls_quickly")
def test_a_server_without_sharded_channels_is_polled(drive: Open, engine: Engine) -> None:
    """One connection asks, and none of the later steps of the flow."""
    with EarlierServer(engine) as server:
        before = _connections(server)
        assert drive(server.url).run(waits(*[LONG_S] * 4)) == [False] * 4
        assert _connections(server) - before == 2  # the second is that of the look itself


def _connections(server: Server) -> int:
    """How many there have been so far."""
    return int(server.info("stats")["total_connections_received"])


@pytest.mark.usefixtures("_polls_quickly")
def test_a_server_that_is_away_raises_nothing(drive: Open, server: Server) -> None:
    """The next call says so."""
    side = drive(f"unix://{server.folder}/nobody.sock")
    assert side.run(waits(*[LONG_S] * 3)) == [False] * 3
    assert isinstance(error_of(lambda: side.run(read(), deadline_s=0.05)), BackendUnavailable)


def test_the_in_process_store_is_polled(drive: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no messages, and a test may advance its clock at any time.  The first look does not wait."""
    poll_s = 0.15  # a busy machine does not take so long for one step
    monkeypatch.setattr(settings, "WAKE_IN_PROCESS_S", poll_s)
    seen: list[float] = []

    def flow() -> Flow[list[bool]]:
        results: list[bool] = []
        for _ in range(4):
            began = time.monotonic()
            woken: bool = yield Wake(POOL, "a", LONG_S)
            seen.append(time.monotonic() - began)
            results += [woken]
        return results

    assert drive("memory://").run(flow()) == [False] * 4
    assert seen[0] < poll_s <= min(seen[1:])
    assert max(seen) < SOON_S


def test_no_step_takes_longer_than_its_time(drive: Open, server: Server) -> None:
    """Not even where it polls: then these would take ten seconds or more."""
    for target, steps in ((server.url, 50), ("memory://", 500)):
        side = drive(target)
        side.run(waits(0.0))  # what is done once, such as imports, may take its time
        began = time.monotonic()
        assert side.run(waits(*[0.0] * steps)) == [False] * steps
        assert time.monotonic() - began < LONG_S / 6
