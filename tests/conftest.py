"""Fixtures for all tests: real servers, one per engine and session, emptied between tests and audited after each."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator

import pytest
import redis.utils

from allocator import Allocator
from tests.support import running_once
from tests.support.servers import Engine, Server, SessionServers, engines, session_servers
from tests.support.thinning import pytest_collection_modifyitems
from tests.support.tools import engine_params, pytest_configure, pytest_runtest_setup, pytest_terminal_summary

__all__ = ["pytest_collection_modifyitems", "pytest_configure", "pytest_runtest_setup", "pytest_terminal_summary"]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Take Ctrl-C as in the foreground: a shell without jobs starts what it has in the background to ignore it.

    redis-py parses its package's metadata for each connection: once is enough.
    """
    session.config.pluginmanager.register(running_once)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    redis.utils.get_lib_version = functools.cache(redis.utils.get_lib_version)


@pytest.fixture(scope="session")
def servers() -> Iterator[SessionServers]:
    """The engines of this machine, started when first asked for."""
    with session_servers() as started:
        yield started


@pytest.fixture(params=engine_params())
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    engine: Engine = request.param
    return engine


@pytest.fixture
def server(engine: Engine, servers: SessionServers, audit_all: Callable[[str], None]) -> Iterator[Server]:
    """An empty server of each engine; whatever pools are left on it at the end must be clean."""
    server = servers.get(engine)
    server.flush()
    yield server
    audit_all(server.url)


@pytest.fixture
def one_server(servers: SessionServers, audit_all: Callable[[str], None]) -> Iterator[Server]:
    """An empty server of the newest engine, for tests that do not depend on which."""
    server = servers.get(engines()[0])
    server.flush()
    yield server
    audit_all(server.url)


@pytest.fixture
def audit_all(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Audit every pool of a store; a test that leaves broken data behind on purpose is marked `breaks_data`."""

    def audit(url: str) -> None:
        if request.node.get_closest_marker("breaks_data"):
            return
        with Allocator.from_url(url) as allocator:
            for pool in allocator.pools.list():
                report = allocator.options(pool=pool).maintenance.audit()
                assert report, f"pool {pool}: {report}"

    return audit
