"""One server by port and by socket, the primary of Sentinels, a cluster: the life of an allocation on each."""

from __future__ import annotations

import pytest

from tests.support import clients
from tests.support.cluster import Cluster
from tests.support.sentinel import Sentinels
from tests.support.servers import Server
from tests.topologies.crowd import live_a_life


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
async def test_the_primary_that_sentinels_name(kind: str, sentinels: Sentinels) -> None:
    """Known by its Sentinels alone."""
    await live_a_life(clients.connect(kind, sentinels.url))
