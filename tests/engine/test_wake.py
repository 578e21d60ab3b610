"""Waiting for a message: a flow that listens, asks, and listens until it is woken."""

from __future__ import annotations

import threading
import time

from allocator._engine.protocol.flows import Flow, Wake
from tests.support.drivers import POOL, Side, read
from tests.support.servers import Server
from tests.support.waiting import wait_until


def waiting(call: str, seconds: float = 30.0, asked: list[str] | None = None) -> Flow[tuple[bool, bool, float]]:
    """Subscribe, ask, and wait; returns what both waits returned, and how many seconds the second took."""
    first: bool = yield Wake(POOL, call, seconds)
    yield from read()
    if asked is not None:
        asked.append(call)
    began = time.monotonic()
    second: bool = yield Wake(POOL, call, seconds)
    return first, second, time.monotonic() - began


def publish(server: Server, call: str) -> int:
    """Publish on a call's channel, as a script does; returns how many connections heard it."""
    return int(server.ask("EVAL", f"return redis.call('SPUBLISH', '{POOL.wake_channel(call)}', '')", "0"))


def is_quiet(server: Server) -> bool:
    """Whether nobody listens."""
    return "wake" not in server.ask("PUBSUB", "SHARDCHANNELS")


def test_a_message_wakes_a_waiting_call(server: Server) -> None:
    """Long before its time has passed."""
    side = Side("sync", server.url)
    asked: list[str] = []
    results: list[tuple[bool, bool, float]] = []
    thread = threading.Thread(target=lambda: results.append(side.run(waiting("c1", asked=asked))))
    thread.start()
    wait_until(lambda: asked)
    assert publish(server, "c1") == 1
    thread.join()
    first, second, took = results[0]
    assert (first, second) == (False, True)
    assert took < 1
    wait_until(lambda: is_quiet(server))
    side.close()
