"""The first connection: a server that is started for it, one that must not be used, a process that forks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from allocator._engine.execution.driver import Driver
from allocator._engine.servers import embedded
from allocator._engine.transport.urls import resolve_target
from tests.support.drivers import Open, count, error_of, new_item
from tests.support.servers import Server

# -- the embedded server -----------------------------------------------------------------------------------------------


@pytest.fixture
def embedded_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[None]:
    """A folder of the test's own, with no server left in it."""
    monkeypatch.setenv(embedded.FOLDER_VARIABLE, str(tmp_path))
    yield
    embedded.stop()


@pytest.mark.usefixtures("embedded_folder")
def test_the_embedded_server_is_started_when_wanted_and_started_again(drive: Open) -> None:
    """At the first call, not before; and when it was stopped meanwhile."""
    side = drive("embedded://")
    assert not embedded.status().running
    side.run(count())
    assert embedded.status().running
    embedded.stop()
    assert side.run(count())[2] == 1


# -- admission ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_a_server_that_may_evict_anything_is_refused(drive: Open, one_server: Server, policy: str) -> None:
    """It would lose records and keep their charges; by name it can be allowed."""
    one_server.ask("CONFIG", "SET", "maxmemory-policy", policy)
    try:
        error = error_of(lambda: drive(one_server.url).run(count()))
        assert error.code == "eviction"
        assert policy in str(error)
        assert "allow_eviction=True" in str(error)
        assert drive(one_server.url, allow_eviction=True).run(count())[2] == 1
    finally:
        one_server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_a_policy_for_volatile_keys_is_harmless(
    drive: Open, one_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """No key of ours has a time to live in Redis."""
    one_server.ask("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    try:
        drive(one_server.url).run(count())
    finally:
        one_server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert not caplog.records


def test_a_server_that_does_not_tell_is_used_with_one_warning(
    drive: Open, one_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """INFO may not be permitted; the warning says what to make sure of."""
    one_server.ask("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-info")
    try:
        side = drive(one_server.url.replace("unix://", "unix://app:pw@"))
        side.run(count())
        side.run(count())
    finally:
        one_server.ask("ACL", "DELUSER", "app")
    assert [record.levelname for record in caplog.records if "maxmemory-policy" in record.message] == ["WARNING"]


# -- forks -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_connections_of_its_own(one_server: Server) -> None:
    """It must neither read the parent's replies nor end its connections."""
    driver = Driver(resolve_target(one_server.url))
    driver.run(count())
    child_item, parent_item = new_item(), new_item()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if driver.run(count(child_item))[:3] == [child_item.call, 0, 1] else 1)
        finally:
            os._exit(2)
    assert driver.run(count(parent_item))[:3] == [parent_item.call, 0, 1]
    assert os.waitpid(child, 0)[1] == 0
    assert driver.run(count(parent_item))[1:3] == [0, 2]
    driver.close()
