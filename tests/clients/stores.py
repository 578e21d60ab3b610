"""The stores by name: the one in this process, each engine with either protocol, a cluster."""

from __future__ import annotations

from typing import Final

from tests.support.cluster import Cluster
from tests.support.servers import Engine, engines
from tests.support.tools import with_engine

EVERY: Final = (
    "memory",
    *(with_engine(engine, f"{engine}-resp{protocol}") for engine in Engine for protocol in (2, 3)),
    "cluster",
)
"""For the verbs that a holder's life depends on."""

SOME: Final = ("memory", engines()[-1].value, "cluster")
"""For the rest: the oldest engine here, the cluster on the newest, and the one in this process."""


def cluster_url(cluster: Cluster) -> str:
    """The URL by which our clients reach a cluster."""
    return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster.masters)
