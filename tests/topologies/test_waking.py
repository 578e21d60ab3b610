"""Waiting for a message behind Sentinels, in a cluster and by TLS: it is heard on the server that has the pool now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from allocator import settings
from tests.clients.stores import cluster_url
from tests.support.cluster import Cluster
from tests.support.drivers import POOL, Open
from tests.support.sentinel import Sentinels
from tests.support.servers import Engine
from tests.support.tls import Certificates, SecuredServer
from tests.support.tools import needs
from tests.support.waiting import wait_until
from tests.support.wakes import LONG_S, SOON_S, Waiting, channels, is_quiet, listens, publish, until_woken

HEARTBEAT_S: Final = 0.5
"""Seconds of a step; `settings.HEARTBEAT_S` would take longer."""


@pytest.fixture(autouse=True)
def _polls_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait for the second that a program waits."""
    monkeypatch.setattr(settings, "WAKE_POLL_S", 0.05)


def test_a_message_is_heard_on_the_new_primary(drive: Open, watched: Sentinels) -> None:
    """The flow asks after each step, so the Sentinels are asked, and the next step listens where they point to."""
    heard: list[bool] = []
    side = drive(watched.url, attempt_timeout_s=0.5)
    with Waiting(side, until_woken("a", heard, seconds=HEARTBEAT_S)) as waiting:
        old = watched.primary
        wait_until(lambda: listens(old, "a"))
        new = watched.fail_over()
        wait_until(lambda: listens(new, "a"), message="it listens on the new primary")
        assert not waiting.ended
        began = time.monotonic()
        assert publish(new, "a") == 1
    assert waiting.error is None
    assert time.monotonic() - began < SOON_S
    for server in (old, new):
        side.wait_until(lambda server=server: not channels(server))  # Sentinels listen, too


def test_a_message_is_heard_after_the_primary_has_died(drive: Open, watched: Sentinels) -> None:
    """While no server has the pool, the step is a pause."""
    heard: list[bool] = []
    with Waiting(drive(watched.url, attempt_timeout_s=0.5), until_woken("a", heard, ask=False)) as waiting:
        old = watched.primary
        wait_until(lambda: listens(old, "a"))
        watched.kill_primary()
        new = watched.wait_for_another(old)
        wait_until(lambda: listens(new, "a"), message="it listens on the new primary")
        assert publish(new, "a") == 1
    assert waiting.error is None


@pytest.fixture
def lab(cluster: Cluster) -> Iterator[int]:
    """The slot of the pool; when the drivers are closed nobody listens on any node."""
    yield cluster.slot_of(POOL["pool"])
    for node in cluster.masters:
        wait_until(lambda node=node: is_quiet(node.server))


def test_a_message_is_heard_on_the_node_of_the_pool(lab: int, drive: Open, cluster: Cluster) -> None:
    """A sharded channel belongs to a slot; no other node has it."""
    heard: list[bool] = []
    owner = cluster.owner_of(lab)
    with Waiting(drive(cluster_url(cluster)), until_woken("a", heard)) as waiting:
        wait_until(lambda: listens(owner.server, "a"))
        assert not any(listens(node.server, "a") for node in cluster.masters if node is not owner)
        began = time.monotonic()
        assert publish(owner.server, "a") == 1
    assert waiting.error is None
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize("ask", [True, False])
def test_a_message_is_heard_where_the_slot_has_moved_to(lab: int, drive: Open, cluster: Cluster, ask: bool) -> None:
    """The server ends the subscription, and the next step makes it where the slot is now."""
    heard: list[bool] = []
    source = cluster.owner_of(lab)
    target = cluster.other_than(source)
    flow = until_woken("a", heard, seconds=LONG_S, ask=ask)
    with Waiting(drive(cluster_url(cluster)), flow) as waiting:
        wait_until(lambda: listens(source.server, "a"))
        cluster.migrate(lab, target)
        wait_until(lambda: listens(target.server, "a"), message="it listens on the new node")
        assert not waiting.ended
        assert publish(target.server, "a") == 1
    assert waiting.error is None
    cluster.migrate(lab, source)


@needs("openssl", "redis-server")
def test_a_message_is_heard_by_tls(drive: Open, tmp_path: Path) -> None:
    """On a connection with the same certificates as the others."""
    made = Certificates(tmp_path)
    with SecuredServer(Engine.REDIS7, tcp=True, options=made.options(clients="yes")) as server:
        heard: list[bool] = []
        url = f"{server.secured_url}?{made.query('ca', 'client')}"
        with Waiting(drive(url, attempt_timeout_s=5.0), until_woken("a", heard)) as waiting:
            wait_until(lambda: heard)
            began = time.monotonic()
            assert publish(server, "a") == 1
        assert (waiting.error, heard) == (None, [False, True])
        assert time.monotonic() - began < SOON_S
