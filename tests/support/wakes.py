"""Flows that wait for a message, the messages, and who listens."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Final, Self

import redis

from allocator._engine.protocol.flows import Flow, Wake
from tests.support.drivers import POOL, Side, read
from tests.support.servers import Server
from tests.support.waiting import wait_until

LONG_S: Final = 60.0
"""Seconds that no test waits."""

SOON_S: Final = 5.0
"""Seconds within which a message wakes: on a busy machine, and far less than `LONG_S`."""


def until_woken(call: str, heard: list[bool], *, seconds: float = LONG_S, ask: bool = True) -> Flow[int]:
    """Wait until a message arrives; returns after how many steps, and notes in `heard` what each returned."""
    while True:
        woken: bool = yield Wake(POOL, call, seconds)
        heard.append(woken)
        if woken:
            return len(heard)
        if ask:
            yield from read()


def waits(*seconds: float, call: str = "a") -> Flow[list[bool]]:
    """One step after another, of so many seconds each; returns what each returned."""
    results: list[bool] = []
    for each in seconds:
        woken: bool = yield Wake(POOL, call, each)
        results += [woken]
    return results


def publish(server: Server, call: str) -> int:
    """Publish on a call's channel from a script; returns how many connections received it."""
    return int(server.ask("EVAL", f"return redis.call('SPUBLISH', '{POOL.wake_channel(call)}', '')", "0"))


def channels(server: Server) -> list[str]:
    """The channels on which somebody listens."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return list(client.execute_command("PUBSUB", "SHARDCHANNELS"))


def listens(server: Server, call: str) -> bool:
    """Whether somebody listens on a call's channel."""
    return POOL.wake_channel(call) in channels(server)


def listeners(server: Server) -> list[str]:
    """The ids of the connections that listen."""
    lines = server.ask("CLIENT", "LIST").splitlines()
    return [line.partition(" ")[0] for line in lines if "flags=P" in line]


def is_quiet(server: Server) -> bool:
    """Whether nobody listens and no connection is left that did."""
    return not channels(server) and not listeners(server)


class Waiting:
    """A flow that a thread runs, for drivers of both kinds; the block ends once the flow has."""

    def __init__(self, side: Side, flow: Flow[Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._side, self._flow = side, flow
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.result = self._side.run(self._flow)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    @property
    def ended(self) -> bool:
        """Whether the flow has returned or failed."""
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            wait_until(lambda: self.ended, message="the waiting flow has ended")
