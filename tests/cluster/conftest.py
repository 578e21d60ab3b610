"""One cluster of each engine at the ends of what is supported."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.servers import Engine
from tests.support.tools import with_engine


@pytest.fixture(scope="module", params=[with_engine(one, id=str(one)) for one in (Engine.REDIS7, Engine.VALKEY9)])
def formed(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three masters that share the slots."""
    engine: Engine = request.param
    with Cluster(engine) as formed:
        yield formed


@pytest.fixture
def cluster(formed: Cluster) -> Cluster:
    """The same, empty."""
    formed.flush()
    return formed
