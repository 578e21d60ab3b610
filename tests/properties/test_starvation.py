"""Nobody starves in a full pool, whatever its policy: short stories here, 100,000 steps in `tests.soak`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.properties.starving import KINDS, tell
from tests.properties.starving_rules import Terms
from tests.properties.worlds.run import Wire
from tests.support.servers import SessionServers, engines

STEPS: Final = 500

SEED: Final = 3


@pytest.fixture
def wire(servers: SessionServers) -> Iterator[Wire]:
    """A connection to an empty server."""
    wire = Wire(servers.get(engines()[0]).socket)
    yield wire
    wire.close()


@pytest.mark.parametrize("terms", KINDS, ids=str)
def test_nobody_in_line_starves(wire: Wire, terms: Terms) -> None:
    """Each wait has the bound of its policy; victims have their grace; guarantees are there; the sums are right."""
    met = tell(wire, terms, SEED, STEPS)
    assert met["waiting"] > 100
    assert met["replayed"] > 50, "granted from the line, and claimed"
    assert not terms.scopes or (met["guaranteed"] and met["owners"] and met["victims_gone"])
