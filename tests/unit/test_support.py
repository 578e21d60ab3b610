"""The tools that other tests trust: each fault of the proxy does to a real server what its name says."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.cluster import Cluster
from tests.support.proxy import FaultProxy
from tests.support.servers import Engine, Server, engines, free_port, session_servers
from tests.support.tools import engine_params
from tests.support.waiting import is_gone, wait_until, wait_until_async

ROOT = Path(__file__).parents[2]

TIMEOUT_S = 0.15
"""Seconds after which a client of these tests gives up on a reply that will not come."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(tcp=True) as started:
        yield started


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    server.flush()
    with FaultProxy(server.socket) as started:
        yield started


@contextlib.contextmanager
def client_of(proxy: FaultProxy, protocol: int = 3) -> Iterator[redis.Redis]:
    """A client that never repeats a call by itself."""
    client = redis.Redis(port=proxy.port, socket_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0), protocol=protocol)
    with contextlib.closing(client):
        yield client


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's: that of a parallel run's `tmp_path` may not."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


class TestServers:
    @pytest.mark.parametrize("engine", engine_params())
    def test_every_engine_starts_on_both_addresses_and_ends_when_closed(self, engine: Engine) -> None:
        """The contract tests run on all of them."""
        with Server(engine, tcp=True) as started:
            for url in (started.url, started.tcp_url):
                with contextlib.closing(redis.Redis.from_url(url)) as client:
                    assert client.ping()
            pid = started.pid
        assert not started.running
        assert not started.folder.exists()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_options_reach_the_server_and_a_required_password_is_in_the_url(self) -> None:
        """Tests of ACLs, memory limits and passwords are written with options alone."""
        options = {"requirepass": "a b@c", "maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}
        with Server(tcp=True, options=options) as started:
            for url in (started.url, started.tcp_url):
                with contextlib.closing(redis.Redis.from_url(url, decode_responses=True)) as client:
                    assert client.config_get("maxmemory*")["maxmemory-policy"] == "allkeys-lru"

    def test_a_restart_keeps_the_address_and_only_what_was_made_durable(self) -> None:
        """Tests of lost data and of kept data need both kinds."""
        for appendonly, expected in (("no", "0"), ("yes", "1")):
            with Server(tcp=True, options={"appendonly": appendonly}) as started:
                address, before = started.tcp_url, started.pid
                started.ask("SET", "key", "value")
                started.restart()
                assert (started.tcp_url, started.ask("DBSIZE")) == (address, expected)
                assert started.pid != before

    def test_a_stopped_process_answers_nobody_until_it_is_continued(self) -> None:
        """A long pause of the server is not its end."""
        with Server() as started:
            started.stop_process()
            client = redis.Redis.from_url(started.url, socket_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0))
            with contextlib.closing(client):
                with pytest.raises(redis.TimeoutError):
                    client.ping()
                assert started.running
                started.cont()
                assert started.ask("PING") == "PONG"

    def test_a_server_dies_with_a_test_process_that_is_killed(self, short_path: Path) -> None:
        """A run that is aborted leaves no servers behind."""
        program = (
            "import sys, threading\n"
            "from tests.support.servers import Server\n"
            "print(Server().start().pid, flush=True)\n"
            "threading.Event().wait()\n"
        )
        environment = {**os.environ, "TMPDIR": str(short_path)}
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as holder:
            assert holder.stdout is not None
            pid = int(holder.stdout.readline())
            os.kill(pid, 0)
            holder.kill()
        wait_until(lambda: is_gone(pid), message="the server is gone")

    def test_a_server_does_not_die_with_the_thread_that_started_it(self) -> None:
        """Fixtures may be set up from any thread."""
        started = Server()
        thread = threading.Thread(target=started.start)
        thread.start()
        thread.join()
        with contextlib.closing(started):
            assert started.ask("PING") == "PONG"

    def test_one_server_serves_a_session_and_is_handed_out_empty_and_alive(self) -> None:
        """A test that kills the server, stops it or leaves data behind does not hurt the next one."""
        with session_servers() as servers:
            first = servers.get(engines()[0])
            first.ask("SET", "key", "value")
            first.stop_process()
            assert servers.get(engines()[0]) is first
            assert first.ask("DBSIZE") == "0"
            first.kill()
            assert servers.get(engines()[0]).ask("PING") == "PONG"
        assert not first.running

    def test_a_taken_port_is_not_handed_out(self) -> None:
        """A cluster node listens on the port 10,000 above its own, too."""
        port = free_port()
        with socket.create_server(("127.0.0.1", port + 10_000)):
            assert all(free_port() != port for _ in range(50))


class TestFaults:
    @pytest.mark.parametrize("protocol", [2, 3])
    def test_without_a_fault_everything_passes(self, proxy: FaultProxy, protocol: int) -> None:
        """Large values, nested replies, maps, pipelines and errors arrive as the server sent them."""
        with client_of(proxy, protocol) as client:
            client.set("large", b"\r\n" * 200_000)
            assert client.get("large") == b"\r\n" * 200_000
            client.hset("hash", mapping={"a": "1", "b": ""})
            assert client.hgetall("hash") == {b"a": b"1", b"b": b""}
            assert client.eval("return {1, {'two', {}}, false}", 0) == [1, [b"two", []], None]
            pipeline = client.pipeline(transaction=True)
            pipeline.incr("count")
            pipeline.incr("count")
            assert pipeline.execute() == [1, 2]
            with pytest.raises(redis.ResponseError, match="mine"):
                client.eval("return redis.error_reply('MINE mine')", 0)
            assert client.config_get("maxmemory") == {"maxmemory": "0"}

    def test_reset_before_keeps_the_request_from_the_server(self, server: Server, proxy: FaultProxy) -> None:
        """The caller cannot tell it from `reset_after`; the server can."""
        with client_of(proxy) as client:
            proxy.reset_before(match=b"INCR")
            with pytest.raises(redis.ConnectionError, match="reset"):
                client.incr("count")
            proxy.wait_fired()
            assert client.incr("count") == 1

    def test_reset_after_loses_the_reply_of_an_executed_request(self, server: Server, proxy: FaultProxy) -> None:
        """The case in which a naive retry executes twice."""
        with client_of(proxy) as client:
            proxy.reset_after(match=b"INCR")
            with pytest.raises(redis.ConnectionError, match="reset"):
                client.incr("count")
            proxy.wait_fired()
            assert server.ask("GET", "count") == "1"
            assert client.incr("count") == 2

    def test_swallow_executes_and_lets_the_client_time_out(self, server: Server, proxy: FaultProxy) -> None:
        """The same loss, noticed later."""
        with client_of(proxy) as client:
            proxy.swallow()
            with pytest.raises(redis.TimeoutError):
                client.incr("count")
            proxy.wait_fired()
            assert server.ask("GET", "count") == "1"

    @pytest.mark.parametrize("reset", [False, True])
    def test_hold_delivers_the_request_late(self, server: Server, proxy: FaultProxy, reset: bool) -> None:
        """A request that was under way while its caller gave up and tried again."""
        with client_of(proxy) as client:
            proxy.hold(match=b"INCR", reset=reset)
            with pytest.raises(redis.ConnectionError if reset else redis.TimeoutError):
                client.incr("count")
            proxy.wait_fired()
            assert client.incr("count") == 1
            assert proxy.release() == [b":2\r\n"]
            assert proxy.release() == []

    def test_duplicate_passes_now_and_repeats_later_in_the_same_database(self, proxy: FaultProxy) -> None:
        """A copy arrives when the call's story is long over; it is the same request to the same database."""
        client = redis.Redis(port=proxy.port, db=3, retry=Retry(NoBackoff(), 0))
        with contextlib.closing(client):
            proxy.duplicate(match=b"INCR", times=2)
            assert (client.incr("count"), client.incr("count")) == (1, 2)
            assert proxy.fired
            assert proxy.release() == [b":3\r\n", b":4\r\n"]
            assert client.get("count") == b"4"

    def test_delay_keeps_the_reply_until_it_is_resumed(self, server: Server, proxy: FaultProxy) -> None:
        """Between execution and reply there is time for the test to do something else."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            client = redis.Redis(port=proxy.port, retry=Retry(NoBackoff(), 0))
            with contextlib.closing(client):
                proxy.delay(match=b"INCR")
                call = pool.submit(client.incr, "count")
                proxy.wait_fired()
                assert server.ask("GET", "count") == "1"
                assert not call.done()
                proxy.resume()
                assert call.result(60) == 1
                proxy.delay(0.02, match=b"INCR")
                assert client.incr("count") == 2

    def test_faults_meet_the_requests_that_match_as_often_as_they_were_armed(self, proxy: FaultProxy) -> None:
        """Tests say exactly which call of a story is hit."""
        with client_of(proxy) as client:
            proxy.reset_before(match=lambda request: b"second" in request, times=2)
            assert client.incr("first") == 1
            for _ in range(2):
                with pytest.raises(redis.ConnectionError):
                    client.incr("second")
            assert client.incr("second") == 1
            assert proxy.counts["requests"] == 4
            assert proxy.counts["reset_before"] == 2
            proxy.swallow()
            proxy.clear()
            assert client.incr("first") == 2

    def test_the_introduction_of_a_connection_always_passes(self, proxy: FaultProxy) -> None:
        """HELLO and CLIENT SETINFO must not use up the fault that was meant for the call."""
        proxy.reset_before()
        with client_of(proxy) as client:
            client.info("server")
            assert not proxy.fired
            with pytest.raises(redis.ConnectionError):
                client.ping()
        assert proxy.fired

    def test_waiting_for_a_fault_that_does_not_happen_fails(self, proxy: FaultProxy) -> None:
        """A test whose fault missed its request must not pass."""
        proxy.reset_before(match=b"NEVER")
        with pytest.raises(AssertionError, match="NEVER"):
            proxy.wait_fired(timeout_s=0.01)

    def test_down_ends_every_connection_until_up(self, proxy: FaultProxy) -> None:
        """An outage of the network, with the server alive behind it."""
        with client_of(proxy) as client:
            assert client.ping()
            proxy.down()
            for _ in range(2):
                with pytest.raises(redis.ConnectionError):
                    client.ping()
            proxy.up()
            assert client.ping()

    def test_connections_can_be_dropped_at_any_moment(self, proxy: FaultProxy) -> None:
        """What a load balancer does to connections that it has forgotten."""
        with socket.create_connection(proxy.address) as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(64) == b"+PONG\r\n"
            proxy.drop_connections()
            with pytest.raises(ConnectionResetError):
                connection.recv(64)

    def test_a_dead_server_behind_the_proxy_looks_like_a_dead_connection(self) -> None:
        """Nothing hangs, and the proxy serves again when the server does."""
        with (
            Server(tcp=True) as server,
            FaultProxy(("127.0.0.1", server.port or 0)) as proxy,
            client_of(proxy) as client,
        ):
            assert client.ping()
            server.kill()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            server.start()
            assert client.ping()

    async def test_asyncio_clients_meet_the_same_faults(self, server: Server, proxy: FaultProxy) -> None:
        """A cancelled call may have been executed."""
        client = redis.asyncio.Redis(port=proxy.port, retry=AsyncRetry(NoBackoff(), 0))
        try:
            proxy.delay(match=b"INCR")
            call = asyncio.ensure_future(client.incr("count"))
            await wait_until_async(lambda: proxy.fired)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert server.ask("GET", "count") == "1"
        finally:
            await client.aclose()


class TestClusters:
    @pytest.mark.parametrize("engine", engines()[-1:])
    def test_a_cluster_forms_and_a_slot_moves_stage_by_stage(self, engine: Engine) -> None:
        """Scripts are run at each of these stages."""
        with Cluster(engine) as cluster, contextlib.closing(redis.RedisCluster.from_url(cluster.url)) as client:
            for number in range(3):
                client.set(f"{{pool}}:{number}", number)
            slot = cluster.slot_of("{pool}")
            source, target = cluster.begin_migration(slot)
            assert cluster.move_keys(slot, ["{pool}:1"]) == ["{pool}:1"]
            with pytest.raises(redis.ResponseError, match="Multiple keys request"):
                source.call("MGET", "{pool}:0", "{pool}:1")
            with pytest.raises(redis.ResponseError, match=str(slot)):
                source.call("GET", "{pool}:1")
            cluster.cancel_migration(slot)
            assert len(source.keys_in(slot)) == 3
            cluster.migrate(slot, target)
            assert cluster.node_of("{pool}:0") is target
            assert len(target.keys_in(slot)) == 3
            assert client.get("{pool}:2") == b"2"
            cluster.begin_migration(slot)
            cluster.flush()
            assert client.dbsize() == 0

    def test_a_replica_follows_its_master(self) -> None:
        """Failover tests start from here."""
        with Cluster(masters=1, replicas=1) as cluster:
            cluster.masters[0].call("SET", "key", "value")
            (replica,) = cluster.replicas
            wait_until(lambda: replica.call("DBSIZE") == 1, message="the key has reached the replica")


class TestWaiting:
    def test_a_wait_returns_what_the_condition_returned(self) -> None:
        """So that a test goes on with what it waited for."""
        values = iter([0, "", "here"])
        assert wait_until(lambda: next(values)) == "here"

    async def test_a_wait_that_is_in_vain_says_for_what(self) -> None:
        """A failure on another machine must be readable."""

        async def never() -> bool:
            return False

        with pytest.raises(AssertionError, match=r"not within 0\.01 s: the moon"):
            wait_until(lambda: 0, timeout_s=0.01, message="the moon")
        with pytest.raises(AssertionError, match="never"):
            await wait_until_async(never, timeout_s=0.01)
