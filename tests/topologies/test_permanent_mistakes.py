"""Mistakes that no retry removes: each is an error at once, on any topology, and says what to do."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from allocator._engine.execution import batching, retry
from allocator._engine.transport.failures import AttemptFailure
from allocator.errors import BackendUnavailable
from tests.support.drivers import Open, count, drive, error_of
from tests.support.pretend import PretendSentinel
from tests.support.servers import Engine, Server
from tests.support.tls import Certificates, SecuredServer
from tests.support.tools import needs

__all__ = ["drive"]

FORMS: Final = ("{scheme}://{login}{place}", "{scheme}+cluster://{login}{place}", "{scheme}+sentinel://{place}/ledger")
"""A URL of each topology whose only known server is at this place."""

PASSWORD: Final = "c4n4ry"


@pytest.fixture(params=FORMS, ids=["server", "cluster", "sentinel"])
def form(request: pytest.FixtureRequest) -> str:
    """Each topology in turn."""
    text: str = request.param
    return text


@pytest.fixture
def retries(monkeypatch: pytest.MonkeyPatch) -> list[AttemptFailure]:
    """The failures after which a retry was planned; it waits no time."""
    found: list[AttemptFailure] = []
    may_pass = AttemptFailure.may_pass

    def counted(failure: AttemptFailure, limited: int) -> bool:
        if passes := may_pass(failure, limited):
            found.append(failure)
        return passes

    monkeypatch.setattr(AttemptFailure, "may_pass", counted)
    for module in (retry, batching):
        monkeypatch.setattr(module, "backoff", lambda _count: 0.0)
    return found


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, a server's certificate, a client's."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(certificates: Certificates) -> Iterator[SecuredServer]:
    """A server that speaks TLS only, and wants a client's certificate."""
    with SecuredServer(Engine.REDIS7, tcp=True, options=certificates.options(clients="yes")) as server:
        yield server


@pytest.fixture(scope="module")
def locked() -> Iterator[Server]:
    """A server with a password, no cluster, sixteen databases."""
    with Server(tcp=True, options={"requirepass": "other"}) as server:
        yield server


def told(drive: Open, url: str, retries: list[AttemptFailure], *, expected: int = 0) -> BackendUnavailable:
    """The error of a call, after so many retries."""
    error = error_of(lambda: drive(url, attempt_timeout_s=2.0).run(count()))
    assert type(error) is BackendUnavailable, error
    assert len(retries) == expected, error
    assert PASSWORD not in str(error)
    return error


@needs("redis-server", "openssl")
def test_a_tls_port_without_tls(form: str, drive: Open, secured: SecuredServer, retries: list[AttemptFailure]) -> None:
    """The server closes the connection without a word."""
    error = told(drive, form.format(scheme="redis", login="", place=f"localhost:{secured.port}"), retries)
    assert error.code == "tls"
    assert "speaks TLS: write rediss://" in str(error)


def test_tls_to_a_port_without_it(form: str, drive: Open, locked: Server, retries: list[AttemptFailure]) -> None:
    """The server waits for the end of a line, so the handshake takes the whole time of one attempt."""
    error = told(drive, form.format(scheme="valkeys", login="", place=f"localhost:{locked.port}"), retries)
    assert error.code == "tls"
    assert "does not speak TLS: write redis://" in str(error)


@needs("redis-server", "openssl")
@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("ssl_ca_certs=/none/ca.pem", "the file that ssl_ca_certs= names is not there: '/none/ca.pem'"),
        ("{ca}&ssl_certfile=/none/x.crt&ssl_keyfile={folder}/client.key", "ssl_certfile= names is not there"),
        ("{ca}&ssl_certfile={folder}/client.crt&ssl_keyfile=/none/x.key", "ssl_keyfile= names is not there"),
        ("ssl_ca_certs={folder}/client.key", "check the files that ssl_ca_certs="),
        (
            "{ca}&ssl_certfile={folder}/client.crt&ssl_keyfile={folder}/server.key",
            "the key of ssl_keyfile= is not that",
        ),
        ("{ca}", "it may want a certificate: name one by ssl_certfile="),
        ("ssl_ca_certs={folder}/client.crt", "name its authority by the option ssl_ca_certs="),
    ],
)
def test_a_file_for_tls_that_is_missing_or_wrong(
    drive: Open,
    secured: SecuredServer,
    certificates: Certificates,
    retries: list[AttemptFailure],
    query: str,
    named: str,
) -> None:
    """OpenSSL's own text names neither the file nor the option."""
    written = query.format(ca=certificates.query("ca"), folder=certificates.folder)
    error = told(drive, f"{secured.secured_url}?{written}", retries)
    assert error.code == "tls"
    assert named in str(error)


def test_a_missing_file_on_each_topology(form: str, drive: Open, locked: Server, retries: list[AttemptFailure]) -> None:
    """Before anything is connected."""
    url = form.format(scheme="rediss", login="", place=f"localhost:{locked.port}")
    error = told(drive, f"{url}?ssl_ca_certs=/none/ca.pem", retries)
    assert "'/none/ca.pem'" in str(error)


@pytest.mark.parametrize("login", ["", f":{PASSWORD}@", f"user:{PASSWORD}@"])
def test_a_wrong_password(form: str, drive: Open, locked: Server, retries: list[AttemptFailure], login: str) -> None:
    """Or none at all, or a user that is unknown; a Sentinel has credentials of its own."""
    url = form.format(scheme="redis", login=login, place=f"127.0.0.1:{locked.port}")
    if "+sentinel" in url and login:
        url += f"?sentinel_password={PASSWORD}"
    error = told(drive, url, retries)
    assert error.code == "auth"
    assert "check the user name and the password in the URL" in str(error)


def test_a_wrong_password_of_the_server_that_sentinels_name(
    drive: Open, locked: Server, retries: list[AttemptFailure]
) -> None:
    """The Sentinel itself takes the client."""
    assert locked.port
    with PretendSentinel(("127.0.0.1", locked.port)) as sentinel:
        error = told(drive, f"redis+sentinel://:{PASSWORD}@{sentinel.place}/ledger", retries)
    assert error.code == "auth"


def test_an_unknown_host_gets_one_retry(
    form: str, drive: Open, monkeypatch: pytest.MonkeyPatch, retries: list[AttemptFailure]
) -> None:
    """A name service may be late by a moment; more does not help."""
    asked: list[Any] = []

    def getaddrinfo(*args: Any, **kwargs: Any) -> list[Any]:
        asked.append(args)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = told(drive, form.format(scheme="redis", login="", place="no-such-host.invalid:1"), retries, expected=1)
    assert error.code == "unknown_host"
    assert "cannot find the host" in str(error)
    assert "check its name in the URL" in str(error)
    assert len(asked) == 2


def test_a_name_service_that_is_busy_is_no_unknown_host(
    drive: Open, monkeypatch: pytest.MonkeyPatch, retries: list[AttemptFailure]
) -> None:
    """That passes, so it is retried until the deadline."""

    def getaddrinfo(*args: Any, **kwargs: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    error = error_of(lambda: drive("redis://busy.invalid", deadline_s=1.0).run(count()))
    assert error.code == "unavailable"
    assert len(retries) > 2


def test_one_unknown_seed_among_others_is_no_mistake(
    drive: Open, monkeypatch: pytest.MonkeyPatch, retries: list[AttemptFailure]
) -> None:
    """A seed that is down may come back, whatever the other one's name."""
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:  # a real name service may take its time
        if "no-such" in str(host):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for form in ("redis+cluster://{}", "redis+sentinel://{}/ledger"):
        retries.clear()
        error_of(lambda form=form: drive(form.format("no-such.invalid:1,127.0.0.1:1"), deadline_s=1.0).run(count()))
        assert len(retries) > 2


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ("redis://:other@{}/99", "the server has fewer databases"),
        ("redis+cluster://:other@{}", "it is no cluster: write redis://"),
        ("redis+sentinel://{}/ledger?sentinel_password=other", "it is no Sentinel: write redis://"),
    ],
)
def test_a_server_of_another_kind(
    form: str, named: str, drive: Open, locked: Server, retries: list[AttemptFailure]
) -> None:
    """Or with fewer databases."""
    assert named in str(told(drive, form.format(f"127.0.0.1:{locked.port}"), retries))


@pytest.fixture
def website() -> Iterator[int]:
    """The port of a server that speaks HTTP."""
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


class Quiet(http.server.BaseHTTPRequestHandler):
    """Answers, and logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def test_a_port_of_another_protocol(form: str, drive: Open, website: int, retries: list[AttemptFailure]) -> None:
    """Of HTTP, say."""
    error = told(drive, form.format(scheme="redis", login="", place=f"127.0.0.1:{website}"), retries)
    assert error.code == "not_redis"
    assert "check the host and the port in the URL" in str(error)


def test_a_socket_that_is_missing_may_come_back(drive: Open, tmp_path: Path, retries: list[AttemptFailure]) -> None:
    """A server that restarts removes it and makes it again; the message has its path."""
    error = error_of(lambda: drive(f"unix://{tmp_path}/none.sock", deadline_s=0.2).run(count()))
    assert f"{tmp_path}/none.sock" in str(error)
    assert len(retries) > 2
