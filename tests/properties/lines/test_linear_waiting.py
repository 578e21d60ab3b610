"""Concurrent clients that wait in line: one order explains what all of them were told, and lies are found out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis

from tests.properties.lines.book import Item
from tests.properties.lines.callers import POLICIES, Scene, model_of
from tests.properties.lines.linear import Told, explain, find_order
from tests.support.servers import SessionServers, engines

THREADS: Final = 4

CALLS: Final = 12

ROUNDS_LONG: Final = 40


@pytest.fixture
def url(servers: SessionServers) -> Iterator[str]:
    """An empty server."""
    server = servers.get(engines()[0])
    client = redis.Redis(unix_socket_path=server.socket)
    client.flushall()
    yield server.url
    client.close()


def scene(url: str, policy: str, seed: int) -> list[Told]:
    """A history that has an order."""
    told = Scene(url, policy, seed).play(THREADS, CALLS)
    assert len(told) == THREADS * CALLS
    assert find_order(told, model_of(policy))[0], f"seed {seed}, {policy}: {explain(told, model_of(policy))}"
    return told


@pytest.mark.parametrize("policy", POLICIES)
def test_what_clients_were_told_has_an_order(url: str, policy: str) -> None:
    """Grants at once and from the line, refusals with their numbers, withdrawals, preemptions, and readings."""
    scene(url, policy, 1)


def wants(number: int, began: int, ended: int, cpu: int, *outcome: Any, **says: Any) -> Told:
    """An allocate of so many cores; `wait`, `scope`, `priority` as in `Item`."""
    item = Item(f"id-{number}", f"call-{number}", {"cpu": 1000 * cpu}, **says)
    return Told(number, "allocate", item, began, ended, outcome)


SHORT: Final = ("capacity_exceeded", "", "cpu")

LIES: Final = {
    "more than there is": [
        wants(1, 0, 9, 3, "granted", 10, scope="b"), wants(2, 1, 8, 4, "granted", 11, scope="a"),
    ],
    "one of a guarantee that others were granted": [wants(1, 0, 9, 4, "granted", 10)],
    "one passed another, and competes with it": [
        wants(1, 0, 1, 2, "granted", 10), wants(2, 2, 9, 3, *SHORT, 3000, 3000, 6000, wait=True),
        wants(3, 4, 5, 1, "granted", 11), Told(4, "line", None, 3, 3, ("id-2",)),
    ],
    "one was granted after it was withdrawn": [
        wants(1, 0, 1, 3, "granted", 10), wants(2, 2, 9, 1, "granted", 11, wait=True),
        Told(3, "withdraw", "id-2", 3, 4, ("withdrawn",)), Told(4, "release", "id-1", 5, 6, ("released",)),
    ],
    "an earlier place, a later fence": [
        wants(1, 0, 1, 3, "granted", 10), wants(2, 2, 9, 1, "granted", 12, wait=True, priority=1),
        wants(3, 2, 9, 1, "granted", 11, wait=True), Told(4, "line", None, 7, 7, ("id-2", "id-3")),
        Told(5, "release", "id-1", 8, 8, ("released",)),
    ],
    "one was preempted by its equal": [
        wants(1, 0, 1, 3, "granted", 10), wants(2, 2, 3, 3, "granted", 11, wait=True, preempt=True),
    ],
    "what is kept was counted wrongly": [
        wants(1, 0, 1, 2, "granted", 10, scope="a"), Told(2, "quotas", None, 2, 3, ((2000, 1000), (0, 0))),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found(name: str) -> None:
    """No order explains it."""
    assert not find_order(LIES[name], model_of("contended"))[0]


def test_what_is_no_lie_has_an_order() -> None:
    """What was granted from the line, by a release that came before; a preemption of a lower priority."""
    told = [
        wants(1, 0, 1, 3, "granted", 10), wants(2, 2, 9, 1, "granted", 11, wait=True, priority=1),
        wants(3, 2, 9, 1, "granted", 12, wait=True), Told(4, "release", "id-1", 8, 8, ("released",)),
        wants(5, 10, 11, 3, "granted", 13, wait=True, priority=1, preempt=True),
        Told(6, "release", "id-3", 12, 13, ("unknown",)),
    ]  # fmt: skip
    found = find_order(told, model_of("contended"))[0]
    assert not found, "2 of another priority stays"
    told[4] = wants(5, 10, 11, 2, "granted", 13, wait=True, priority=1, preempt=True)
    assert find_order(told[:5], model_of("contended"))[0]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("policy", POLICIES)
def test_what_clients_were_told_has_an_order_many_times(servers: SessionServers, policy: str) -> None:
    """The same with many seeds; all outcomes are met."""
    server = servers.get(engines()[0])
    met: set[str] = set()
    for seed in range(ROUNDS_LONG):
        with redis.Redis(unix_socket_path=server.socket) as client:
            client.flushall()
        met |= {str(word) for call in scene(server.url, policy, seed) for word in call.outcome[:1]}
    assert met >= {"granted", "capacity_exceeded", "withdrawn", "released", "unknown", "absent"}
    assert ("queued" in met) == (policy != "best_effort")
