"""Clients that Sentinel made: each new connection asks for the primary, and a demoted one is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

from tests.support.drivers import Open, Side, count, executed, new_item
from tests.support.servers import Server

Address = tuple[str, int]


class Sentinels:
    """Stands for the Sentinels: whoever is asked names the present primary."""

    def __init__(self, primary: Address) -> None:
        self.primary = primary
        self.asked = 0

    def discover_master(self, service: str) -> Address:
        assert service == "ledger"
        self.asked += 1
        return self.primary


class AwaitedSentinels(Sentinels):
    """The same for asyncio."""

    async def discover_master(self, service: str) -> Address:  # type: ignore[override]
        return super().discover_master(service)


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """Two servers, of which either may be the primary."""
    with Server(tcp=True) as first, Server(tcp=True) as second:
        yield first, second


def address_of(server: Server) -> Address:
    """Where it listens."""
    assert server.port is not None
    return "127.0.0.1", server.port


def client_of(kind: str, primary: Address) -> tuple[Any, Sentinels]:
    """A client as `master_for` makes it."""
    if kind == "sync":
        sentinels = Sentinels(primary)
        pool: Any = redis.sentinel.SentinelConnectionPool("ledger", sentinels)
        return redis.Redis(connection_pool=pool), sentinels
    sentinels = AwaitedSentinels(primary)
    pool = redis.asyncio.sentinel.SentinelConnectionPool("ledger", sentinels)
    return redis.asyncio.Redis(connection_pool=pool), sentinels


def test_the_primary_is_asked_for_and_followed(drive: Open, kind: str, pair: tuple[Server, Server]) -> None:
    """A demoted primary says READONLY: its connections are left, and the Sentinels are asked again."""
    first, second = pair
    client, sentinels = client_of(kind, address_of(first))
    side: Side = drive(client)
    side.run(count())
    sentinels.primary = address_of(second)
    first.ask("REPLICAOF", "127.0.0.1", str(second.port))
    item = new_item()
    assert side.run(count(item))[:3] == [item.call, 0, 1]
    assert executed(second, item) == 1
    assert sentinels.asked == 2


def test_a_primary_that_is_gone_is_waited_for(drive: Open, kind: str, pair: tuple[Server, Server]) -> None:
    """Until the Sentinels name another, within the deadline; nothing was sent to nobody."""
    first, second = pair
    client, sentinels = client_of(kind, address_of(first))
    side = drive(client, deadline_s=5.0)
    side.run(count())
    first.kill()
    began = time.monotonic()
    answers = iter([sentinels.primary] * 3)
    named = type(sentinels).discover_master

    def discover(service: str) -> Any:
        sentinels.primary = next(answers, address_of(second))
        return named(sentinels, service)

    sentinels.discover_master = discover  # type: ignore[method-assign]
    item = new_item()
    assert side.run(count(item))[2] == 1
    assert executed(second, item) == 1
    assert time.monotonic() - began < 5.0
