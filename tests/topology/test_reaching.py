"""One server by port, by socket, by TLS with and without a client's certificate; a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from allocator import AsyncAllocator, BackendUnavailable
from tests.support import clients
from tests.support.cluster import Cluster
from tests.support.servers import Engine, Server, engines, free_port
from tests.support.tls import Certificates, has_openssl
from tests.support.waiting import wait_until


async def live_a_life(client: AsyncAllocator) -> None:
    """Everything that a holder does, and an audit."""
    await client.create_pool("lab", {"cpu": 4})
    one = await client.allocate({"cpu": 1}, ttl=60)
    assert await client.renew(one)
    assert (await client.resize(one, {"cpu": 2})).resources["cpu"] == 2000
    async with client.hold({"cpu": 1}, ttl=60) as hold:
        assert not hold.lost
        assert (await client.usage()).resources["cpu"].available == 1000
    assert await client.release(one)
    assert await client.audit()
    await client.close()


@pytest.mark.parametrize("by", ["port", "socket"])
async def test_one_server_by_its_port_and_by_its_socket(kind: str, plain: Server, by: str) -> None:
    """The simplest."""
    await live_a_life(clients.connect(kind, plain.tcp_url if by == "port" else plain.url))


async def test_a_cluster_that_is_known_by_some_of_its_nodes(kind: str, shards: Cluster) -> None:
    """Known by some of its nodes."""
    shards.flush()
    places = ",".join(f"127.0.0.1:{node.port}" for node in shards.masters[:2])
    await live_a_life(clients.connect(kind, f"redis+cluster://{places}"))


@pytest.mark.slow
async def test_a_cluster_fails_over_and_its_pools_go_on(kind: str, shards: Cluster) -> None:
    """An operator's wish, under a hold; nothing is lost."""
    shards.flush()
    places = ",".join(f"127.0.0.1:{node.port}" for node in shards.nodes)
    client = clients.connect(kind, f"redis+cluster://{places}", attempt_timeout=0.5)
    await client.create_pool("lab", {"cpu": 4}, recovery_grace=3)
    owner = shards.node_of("allocator:{lab}:pool")
    replica = next(
        node for node in shards.nodes if node.call("ROLE")[0] == "slave" and node.call("ROLE")[2] == owner.port
    )
    async with client.hold({"cpu": 2}, ttl=3) as hold:
        replica.call("CLUSTER", "FAILOVER")
        wait_until(lambda: replica.call("ROLE")[0] == "master", timeout_s=10, message="the replica has taken over")
        for _ in range(5):
            assert await client.renew(hold.allocation)
        assert not hold.lost
    assert await client.audit()
    await client.close()


# -- TLS ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Secured:
    """A server that speaks TLS only, and what is needed to reach it."""

    port: int
    made: Certificates

    def url(self, *options: str) -> str:
        """With these options: `ca`, `client`."""
        known = {
            "ca": f"ssl_ca_certs={self.made.crt('ca')}",
            "client": f"ssl_certfile={self.made.crt('client')}&ssl_keyfile={self.made.key('client')}",
        }
        return f"rediss://localhost:{self.port}?" + "&".join(known[option] for option in options)


@pytest.fixture(scope="module", params=["optional", "yes"])
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Debian's server has TLS; the one in the wheel has not.  `yes`: clients need a certificate."""
    if Engine.REDIS7 not in engines() or not has_openssl():
        pytest.skip("redis-server with TLS, or openssl, is not installed (Debian: redis-server, openssl)")
    made = Certificates(Path(tmp_path_factory.mktemp("tls")))
    port = free_port()
    options = {
        "tls-port": str(port),
        "tls-cert-file": str(made.crt("server")),
        "tls-key-file": str(made.key("server")),
        "tls-ca-cert-file": str(made.crt("ca")),
        "tls-auth-clients": request.param,
    }
    with Server(Engine.REDIS7, options=options):
        yield Secured(port, made)


async def test_a_server_whose_certificate_is_trusted(kind: str, secured: Secured) -> None:
    """With a certificate of the client's own it is always let in."""
    await live_a_life(clients.connect(kind, secured.url("ca", "client")))


async def test_a_server_whose_certificate_is_not_trusted_is_not_used(kind: str, secured: Secured) -> None:
    """It fails closed, at once."""
    client = clients.connect(kind, secured.url("client"))
    with pytest.raises(BackendUnavailable) as refused:
        await client.create_pool("lab", {"cpu": 4})
    assert refused.value.code == "tls"
    await client.close()


async def test_a_client_without_a_certificate_is_let_in_only_where_none_is_asked_for(
    kind: str, secured: Secured, request: pytest.FixtureRequest
) -> None:
    """mTLS: the server's side of the same."""
    client = clients.connect(kind, secured.url("ca"), deadline=1.0, attempt_timeout=0.5)
    if "yes" in request.node.name:
        with pytest.raises(BackendUnavailable):
            await client.usage()
        await client.close()
    else:
        await live_a_life(client)
