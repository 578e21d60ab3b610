"""TLS, with and without a certificate of the client's, for one server and for Sentinels with their servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator import BackendUnavailable, settings
from tests.support import clients
from tests.support.sentinel import Sentinels
from tests.support.servers import Engine
from tests.support.tls import Certificates, SecuredServer
from tests.support.tools import needs
from tests.topologies.crowd import live_a_life

pytestmark = needs("redis-server", "openssl")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Debian's server has TLS; the one in the wheel has not."""
    return Certificates(Path(tmp_path_factory.mktemp("tls")))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, made: Certificates) -> Certificates:
    """Those of another authority."""
    return Certificates(Path(tmp_path_factory.mktemp("others")))


@pytest.fixture
def open_to_all(made: Certificates) -> Iterator[SecuredServer]:
    """Clients need no certificate."""
    with SecuredServer(Engine.REDIS7, tcp=True, options=made.options(clients="no")) as server:
        yield server


@pytest.fixture
def mutual(made: Certificates) -> Iterator[SecuredServer]:
    """Clients need one."""
    with SecuredServer(Engine.REDIS7, tcp=True, options=made.options(clients="yes")) as server:
        yield server


async def refusal(kind: str, url: str, *, seconds: float = 10.0) -> BackendUnavailable:
    """What a client is told that gets nowhere."""
    client = clients.connect(kind, url, timeout=seconds, attempt_timeout=seconds / 2)
    with pytest.raises(BackendUnavailable) as refused:
        await client.pools.create("lab", {"cpu": 4})
    await client.close()
    return refused.value


async def test_a_server_whose_certificate_is_trusted(kind: str, open_to_all: SecuredServer, made: Certificates) -> None:
    """The authority is named in the URL."""
    await live_a_life(
        clients.connect(kind, f"{open_to_all.secured_url}?{made.query('ca')}", timeout=60.0, attempt_timeout=20.0)
    )


async def test_a_server_whose_certificate_is_not_trusted_is_not_used(
    kind: str, open_to_all: SecuredServer, others: Certificates
) -> None:
    """It fails closed, at once: neither without an authority, nor with another one, is anything sent."""
    for query in ("", others.query("ca")):
        assert (await refusal(kind, f"{open_to_all.secured_url}?{query}")).code == "tls"
    assert open_to_all.ask("DBSIZE") == "0"


async def test_a_server_of_another_name_is_not_used(kind: str, open_to_all: SecuredServer, made: Certificates) -> None:
    """The certificate is for localhost and 127.0.0.1; 127.0.0.2 is somebody else's."""
    open_to_all.ask("CONFIG", "SET", "bind", "127.0.0.1 127.0.0.2")
    elsewhere = open_to_all.secured_url.replace("localhost", "127.0.0.2")
    assert (await refusal(kind, f"{elsewhere}?{made.query('ca')}")).code == "tls"


async def test_a_client_with_a_certificate(kind: str, mutual: SecuredServer, made: Certificates) -> None:
    """mTLS: each side shows who it is."""
    await live_a_life(
        clients.connect(kind, f"{mutual.secured_url}?{made.query('ca', 'client')}", timeout=60.0, attempt_timeout=20.0)
    )


async def test_a_client_without_a_certificate_is_refused(
    kind: str, mutual: SecuredServer, made: Certificates, others: Certificates
) -> None:
    """And so is one with a certificate of another authority; the error says down, not full."""
    await refusal(kind, f"{mutual.secured_url}?{made.query('ca')}")
    await refusal(kind, f"{mutual.secured_url}?{made.query('ca')}&{others.query('client')}")
    assert mutual.ask("DBSIZE") == "0"


async def test_a_url_without_tls_gets_nowhere(kind: str, mutual: SecuredServer) -> None:
    """A forgotten s is an error within the deadline, not a hanging."""
    await refusal(kind, mutual.secured_url.replace("rediss", "redis"), seconds=1.0)


@pytest.mark.slow
async def test_sentinels_and_their_servers_with_certificates(
    kind: str, made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options of the URL are for both; without the authority neither is used.

    A Sentinel that answers late, on a busy machine, is not taken for one that is away.
    """
    monkeypatch.setattr(settings, "SENTINEL_PATIENCE_S", 20.0)
    with Sentinels(Engine.REDIS7, certificates=made) as secured:
        refused = await refusal(kind, secured.url)
        assert refused.code == "tls", refused
        await live_a_life(
            clients.connect(kind, f"{secured.url}?{made.query('ca', 'client')}", timeout=60.0, attempt_timeout=20.0)
        )
