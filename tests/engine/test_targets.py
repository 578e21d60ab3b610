"""From URLs and ready clients to stores: what is taken over, what is not, and that no password is ever shown."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from allocator._engine.execution.driver import Driver
from allocator._engine.execution.driver_async import AsyncDriver
from allocator._engine.transport.target import SentinelTarget
from allocator._engine.transport.urls import redact_url, resolve_target
from allocator.errors import BackendUnavailable, InvalidRequest
from tests.support.drivers import Open, count, error_of, executed, new_item, read
from tests.support.proxy import FaultProxy
from tests.support.servers import Engine, Server
from tests.support.tools import needs

CANARY = "c4n4ry"
"""A password that no message may contain."""

# -- URLs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        (f"redis://:{CANARY}@host:6379/0", "redis://***@host:6379/0"),
        (f"rediss://user:{CANARY}@host/0?ssl_ca_certs=/ca.pem", "rediss://***@host/0?ssl_ca_certs=/ca.pem"),
        (f"redis://host?password={CANARY}&db=1", "redis://host?password=***&db=1"),
        (f"redis://host?db=1&ssl_password={CANARY}", "redis://host?db=1&ssl_password=***"),
        (f"redis://:{CANARY}@@x@host", "redis://***@host"),
        (f"redis://:{CANARY}/x@host", "redis://***@host"),
        (f"unix://user:{CANARY}@/run/redis.sock", "unix://***@/run/redis.sock"),
        (f"redis+cluster://:{CANARY}@a:1,b:2", "redis+cluster://***@a:1,b:2"),
        (f"redis+sentinel://u:{CANARY}@a:1,b:2/ledger/3", "redis+sentinel://***@a:1,b:2/ledger/3"),
        (
            f"redis+sentinel://a/ledger?sentinel_password={CANARY}&db=1",
            "redis+sentinel://a/ledger?sentinel_password=***&db=1",
        ),
        (f":{CANARY}@host", "***"),
        (f"user:{CANARY}", "***"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_shown_url_has_no_credentials(url: str, shown: str) -> None:
    """Also where it is malformed, and the password has unescaped separators in it."""
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{CANARY}@host",
        f"redis://:{CANARY}@host:x",
        f"redis://:{CANARY}@host:99999",
        f"redis://:{CANARY}@host:0",
        f"redis://:{CANARY}@host/x",
        f"redis://:{CANARY}@host?no_such_option=1",
        f"redis://:{CANARY}@host?protocol=7",
        f"redis://:{CANARY}@host?db=x",
        f"redis://:{CANARY}@[::1",
        f"unix://:{CANARY}@",
        f"redis+cluster://:{CANARY}@",
        f"redis+cluster://:{CANARY}@a:1,b:x",
        f"redis+cluster://:{CANARY}@a:1/3",
        f"redis+sentinel://:{CANARY}@a:1",
        f"redis+sentinel://:{CANARY}@a:1/",
        f"redis+sentinel://:{CANARY}@a:1,/ledger",
        f"redis+sentinel://:{CANARY}@a:x/ledger",
        f"redis+sentinel://:{CANARY}@a:1/ledger/x",
        f"redis+sentinel://:{CANARY}@a:1/led%20ger",
        f"redis+sentinel://:{CANARY}@a:1/ledger#here",
        f"redis+sentinel://a:1/ledger?sentinel_password={CANARY}&sentinel_db=1",
        f"redis+sentinel://a:1/ledger?sentinel_password={CANARY}&ssl_ca_certs=/ca.pem",
        "embedded://name",
        "redis:/host",
        "",
        "host:6379",
    ],
)
def test_an_unusable_url_is_refused_before_anything_is_connected(url: str) -> None:
    """With the field, and without the password."""
    with pytest.raises(InvalidRequest) as caught:
        resolve_target(url)
    assert caught.value.field == "url"
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "seeds"),
    [
        ("redis+sentinel://a/ledger", [("a", 26379)]),
        ("redis+sentinel://u:p%40@a:1,b,[::1]:2/ledger/3?sentinel_password=x", [("a", 1), ("b", 26379), ("::1", 2)]),
        ("rediss+sentinel://a,b:7/ledger?ssl_ca_certs=/ca.pem&client_name=me", [("a", 26379), ("b", 7)]),
    ],
)
def test_a_url_of_sentinels_names_them_and_the_service(url: str, seeds: list[tuple[str, int]]) -> None:
    """With the port that Sentinels have where none is said."""
    store = resolve_target(url)
    assert isinstance(store, SentinelTarget)
    assert (list(store.seeds), store.service) == (seeds, "ledger")


@pytest.mark.parametrize("target", [b"redis://host", 5, object()])
def test_what_is_neither_url_nor_client_is_refused(target: object) -> None:
    """By its type, without its repr."""
    with pytest.raises(InvalidRequest) as caught:
        resolve_target(target)
    assert caught.value.field == "client"


def test_the_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours first, then everybody's, then the embedded server; an explicit one before all."""
    monkeypatch.setenv("ALLOCATOR_REDIS_URL", "redis://ours")
    monkeypatch.setenv("REDIS_URL", "redis://everybodys")
    assert resolve_target("redis://mine").address == "redis://mine"
    assert resolve_target().address == "redis://ours"
    monkeypatch.setenv("ALLOCATOR_REDIS_URL", "")
    assert resolve_target().address == "redis://everybodys"
    monkeypatch.delenv("REDIS_URL")
    assert resolve_target().address == "embedded://"


def test_no_password_is_shown_anywhere(drive: Open, caplog: pytest.LogCaptureFixture) -> None:
    """Neither refused credentials nor a server that is away show it: in no message, cause, repr or log record."""
    caplog.set_level(logging.DEBUG)
    with Server(tcp=True, options={"requirepass": "other"}) as server:
        urls = [
            f"redis://:{CANARY}@127.0.0.1:{server.port}",
            f"redis://user:{CANARY}@127.0.0.1:{server.port}?protocol=2",
            f"redis://:{CANARY}@127.0.0.1:1",
            f"unix://user:{CANARY}@/no/such/socket",
        ]
        texts: list[str] = []
        for url in urls:
            side = drive(url, deadline_s=0.5)
            error: BaseException | None = error_of(lambda side=side: side.run(count()))
            assert isinstance(error, BackendUnavailable)
            texts += [repr(resolve_target(url)), repr(side.driver)]
            while error is not None:
                texts += [str(error), repr(error)]
                error = error.__cause__ or error.__context__
    assert CANARY not in "\n".join([*texts, caplog.text])


def test_the_credentials_of_the_url_are_used(drive: Open) -> None:
    """With percent-encoding, as redis-py reads them."""
    with Server(options={"requirepass": "p@ss/word"}) as server:
        assert drive(server.url).run(count())[2] == 1
        error = error_of(lambda: drive(f"unix://{server.socket}").run(count()))
        assert error.code == "auth"


def test_options_of_the_url_are_honoured(drive: Open, one_server: Server) -> None:
    """The database and the connection's name; ours has one of its own."""
    side = drive(f"{one_server.url}?db=3&client_name=mine")
    side.run(count())
    assert "name=mine" in one_server.ask("CLIENT", "LIST")
    assert " db=3 " in one_server.ask("CLIENT", "LIST")
    drive(one_server.url).run(count())
    assert "name=allocator " in one_server.ask("CLIENT", "LIST")


@needs("redis-server", "openssl")
def test_an_encrypted_connection_is_verified(drive: Open, tmp_path: Any) -> None:
    """`rediss://` without the authority's certificate fails, and says why; with it, it works."""
    certificate, key = self_signed(tmp_path)
    options = {
        "tls-port": "0",
        "tls-cert-file": certificate,
        "tls-key-file": key,
        "tls-ca-cert-file": certificate,
        "tls-auth-clients": "no",
    }
    with Server(Engine.REDIS7, tcp=True, options=options) as server:
        from tests.support.servers import free_port

        port = free_port()
        server.ask("CONFIG", "SET", "tls-port", str(port))
        url = f"rediss://localhost:{port}"
        error = error_of(lambda: drive(url, attempt_timeout_s=5.0).run(count()))
        assert type(error) is BackendUnavailable
        assert "CERTIFICATE_VERIFY_FAILED" in str(error).upper()
        assert drive(f"{url}?ssl_ca_certs={certificate}").run(count())[2] == 1


def self_signed(folder: Any) -> tuple[str, str]:
    """A certificate for localhost that is its own authority, and its key."""
    import subprocess

    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


# -- ready clients -----------------------------------------------------------------------------------------------------


def retrying(proxy: FaultProxy) -> redis.Redis:
    """A client that repeats a lost call up to ten times on its own account, as `redis.Redis()` does."""
    return redis.Redis(port=proxy.port, retry=Retry(NoBackoff(), 10), retry_on_error=[redis.TimeoutError])


def retrying_async(proxy: FaultProxy) -> redis.asyncio.Redis:
    """The same for asyncio."""
    return redis.asyncio.Redis(port=proxy.port, retry=redis.asyncio.retry.Retry(NoBackoff(), 10))


@pytest.fixture
def client_of(kind: str) -> Callable[[FaultProxy], Any]:
    """Makes a client of the kind that the test is about."""
    return retrying if kind == "sync" else retrying_async


def test_a_given_clients_retries_are_off(
    drive: Open, client_of: Callable[[FaultProxy], Any], proxy: FaultProxy, one_server: Server
) -> None:
    """Two lost replies are two repeats of ours, each of which says that it is one; redis-py's say nothing."""
    side = drive(client_of(proxy))
    side.run(count())
    item = new_item()
    proxy.reset_after(match=item.call.encode(), times=2)
    assert side.run(count(item)) == [item.call, 1, 3, "fine", "0"]


@pytest.mark.parametrize("option", ["retry_on_timeout=yes", "health_check_interval=1", "socket_timeout=9"])
def test_options_that_the_allocator_decides_are_refused_by_name(option: str) -> None:
    """Rather than ignored: somebody counts on them."""
    name = option.partition("=")[0]
    with pytest.raises(InvalidRequest, match=f"the option {name} has no effect here"):
        resolve_target(f"redis://localhost?{option}")


def test_a_given_client_is_neither_used_nor_closed(one_server: Server) -> None:
    """Its settings make connections of our own, whatever it decodes and however it is bound to its pool."""
    with redis.Redis(unix_socket_path=one_server.socket, db=2, client_name="theirs", decode_responses=False) as client:
        client.ping()
        settings = dict(client.connection_pool.connection_kwargs)
        driver = Driver(resolve_target(client))
        assert driver.run(count())[2] == 1
        driver.close()
        assert client.connection_pool.connection_kwargs == settings
        assert client.client_info()["name"] == "theirs"
        assert client.dbsize() == 1


def test_a_blocking_pool_is_taken_over(one_server: Server) -> None:
    """Its bound, too: a call waits for a connection rather than to open more."""
    pool = redis.BlockingConnectionPool(
        connection_class=redis.UnixDomainSocketConnection, path=one_server.socket, max_connections=2, timeout=1
    )
    driver = Driver(resolve_target(redis.Redis(connection_pool=pool)))
    items = [new_item() for _ in range(40)]
    threads = [threading.Thread(target=lambda item=item: driver.run(count(item))) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(one_server.info("clients")["connected_clients"]) <= 3
    assert [executed(one_server, item) for item in items] == [1] * 40
    driver.close()
    pool.disconnect()


def test_a_client_of_the_other_kind_is_refused_when_the_driver_is_made(one_server: Server) -> None:
    """Not in the middle of the first call."""
    blocking = resolve_target(redis.Redis(unix_socket_path=one_server.socket))
    awaited = resolve_target(redis.asyncio.Redis(unix_socket_path=one_server.socket))
    for make in (lambda: AsyncDriver(blocking), lambda: Driver(awaited)):
        with pytest.raises(InvalidRequest) as caught:
            make()
        assert caught.value.field == "client"


# -- in-process stores -------------------------------------------------------------------------------------------------


def test_a_private_store_is_private(drive: Open) -> None:
    """Each object has its own."""
    first, second = drive("memory://"), drive("memory://")
    first.run(count())
    assert first.run(read()) == 1
    assert second.run(read()) == 0


def test_a_named_store_is_shared_in_the_process(drive: Open) -> None:
    """Between clients of both kinds."""
    name = f"memory://shared-{os.getpid()}-{new_item().id}"
    other = Driver(resolve_target(name))
    drive(name).run(count())
    assert other.run(read()) == 1


def test_both_sides_of_one_store_see_the_same_data() -> None:
    """So that a facade may have a client of each kind on `memory://`."""
    store = resolve_target("memory://")
    Driver(store).run(count())
    assert asyncio.run(AsyncDriver(store).run(read())) == 1


@pytest.mark.parametrize("client", [fakeredis.FakeRedis, fakeredis.FakeAsyncRedis])
def test_a_fake_client_is_an_in_process_store(client: Any) -> None:
    """Of either kind, for either side, on the very server that it speaks to."""
    server = fakeredis.FakeServer()
    store = resolve_target(client(server=server, db=2))
    Driver(store).run(count())
    assert asyncio.run(AsyncDriver(store).run(read())) == 1
    assert len(fakeredis.FakeRedis(server=server, db=2).keys()) == 1


def test_many_threads_may_use_one_in_process_store() -> None:
    """Calls are executed one at a time."""
    store = resolve_target("memory://")
    driver = Driver(store)

    def work() -> None:
        for _ in range(20):
            driver.run(count())

    async def work_async() -> None:
        await asyncio.gather(*(own.run(count()) for _ in range(20)))

    own = AsyncDriver(store)
    threads = [threading.Thread(target=work) for _ in range(4)]
    threads += [threading.Thread(target=lambda: asyncio.run(work_async())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert driver.run(read()) == 7 * 20


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with the command that installs it."""
    monkeypatch.setitem(__import__("sys").modules, "fakeredis", None)
    with pytest.raises(BackendUnavailable) as caught:
        resolve_target("memory://")
    assert caught.value.code == "no_extra"
    assert "redis-resource-allocator[embedded]" in str(caught.value)
