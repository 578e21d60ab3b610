"""`resource-allocator metrics`: a process that serves, says what is wrong, and outlives its server's absence."""

from __future__ import annotations

import contextlib
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Final

import pytest

from allocator import Allocator, BackendUnavailable
from allocator.apps.exporter import exporter as module
from allocator.apps.exporter.exporter import Exporter
from allocator.metrics import PoolCollector
from allocator.testing import faults, memory_allocator
from tests.programs.cli.conftest import CommandLine, cli, clock
from tests.programs.metrics.scraping import Scrape
from tests.support.servers import Server
from tests.support.waiting import wait_until

__all__ = ["cli", "clock"]

PROGRAM: Final = (sys.executable, "-m", "allocator", "metrics")
PASSWORD: Final = secrets.token_hex(8)


def read(port: int | str) -> Scrape:
    """Scrape as Prometheus does."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        assert reply.headers["Content-Type"].startswith("text/plain")
        return Scrape(reply.read().decode())


@contextlib.contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program, and its port."""
    with subprocess.Popen([*PROGRAM, "--port", "0", *words], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            told = ""
            while not (found := re.search(r"at http://127\.0\.0\.1:(\d+)/metrics", told)):
                line = process.stderr.readline()
                assert line, told
                told += line
            yield process, found[1]
        finally:
            process.kill()


def test_the_exporter_serves_all_pools_and_outlives_its_server() -> None:
    """While the server is away it says so; afterwards it reads again, and SIGTERM ends it in order."""
    with Server(tcp=True) as server, Allocator.from_url(server.url) as client:
        client.pools.create("lab", {"cpu": 4})
        with serving("--url", server.url, "--audit-every", "1h", "--timeout", "1") as (process, port):
            seen = read(port)
            assert (seen.get("up"), seen.labels("pool_up", "pool")) == (1, ["lab"])
            wait_until(lambda: read(port).get("audit_findings", pool="lab") == 0, message="the audit")
            server.kill()
            seen = read(port)
            assert (seen.get("up"), seen.labels("pool_up", "pool")) == (0, ["lab"])
            assert seen.labels("resource_capacity", "pool") == []
            server.start()
            client.pools.create("lab", {"cpu": 4})
            wait_until(lambda: read(port).get("pool_up", pool="lab") == 1, message="the pool again")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_a_port_in_use_is_told_in_one_line(cli: CommandLine) -> None:
    """With what names another; so is an address of another machine."""
    cli("pool", "create", "cpu=4")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.error("metrics", "--port", port, code=1) == (
            f"error: cannot listen on 127.0.0.1 port {port}: Address already in use\nhint: --port names another\n"
        )
    elsewhere = cli.error("metrics", "--address", "203.0.113.1", "--port", "0", code=1)
    assert "cannot listen on 203.0.113.1 port 0: " in elsewhere
    assert elsewhere.endswith("\nhint: --address names another\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nowhere",), 4, "error: there is no pool 'nowhere'"),
        (("--pool", "nowhere"), 4, "error: there is no pool 'nowhere'"),
        (("no pool",), 2, "error: "),
        (("--port", "65536"), 2, "error: Invalid value for '--port'"),
        (("--address", ""), 2, "error: Invalid value for '--address': it is empty"),
        (("--address", "a" * 300), 1, "error: cannot listen on aaa"),
        (("--scopes", "501"), 2, "error: Invalid value for '--scopes'"),
        (("--audit-every", "5s"), 2, "at least 60s"),
        (tuple(f"p{number}" for number in range(101)), 2, "error: more than 100 pools are named"),
    ],
)
def test_what_could_never_be_served_is_refused(cli: CommandLine, words: tuple[str, ...], code: int, said: str) -> None:
    """At once, with the usual exit codes."""
    assert said in cli.error("metrics", "--port", "0", *words, code=code)


def test_a_user_without_rights_is_told_whose_rights_are_needed(one_server: Server) -> None:
    """And no password is printed."""
    one_server.ask("ACL", "SETUSER", "nobody", "on", f">{PASSWORD}", "+ping", "+hello", "+info", "+role")
    url = one_server.url.replace("unix://", f"unix://nobody:{PASSWORD}@")
    try:
        ended = subprocess.run([*PROGRAM, "lab", "--url", url], capture_output=True, text=True, timeout=60, check=False)
    finally:
        one_server.ask("ACL", "DELUSER", "nobody")
    assert ended.returncode == 5, ended.stderr
    assert "hint: 'resource-allocator acl' prints the rights that each role needs" in ended.stderr
    assert PASSWORD not in ended.stderr


def test_without_the_package_one_line_says_what_to_install() -> None:
    """The other commands work without it."""
    program = (
        "import sys; sys.modules['prometheus_client'] = None; sys.argv[1:] = ['metrics']\n"
        "from allocator.apps.cli.main import main\nmain()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == (
        "error: resource-allocator needs the package prometheus_client: "
        "pip install 'redis-resource-allocator[metrics]'\n"
    )


def test_new_pools_are_found_and_a_lost_list_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread, beside the scrapes."""
    client = memory_allocator({"cpu": 4})
    collector = PoolCollector(client, [], timeout=1)
    exporter = Exporter(client.options(timeout=0.2), collector, discovers=True)
    with faults(client).down():
        assert exporter.discover() == module.RETRY_S
        assert isinstance(exporter.fault, BackendUnavailable)
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    monkeypatch.setattr(module, "REFRESH_S", 0.01)
    with exporter:
        port = exporter.serve("127.0.0.1", 0)
        wait_until(lambda: collector.pools == ("test",), message="the first pool")
        client.pools.create("later", {"cpu": 1})
        wait_until(lambda: collector.pools == ("later", "test"), message="the second pool")
        assert read(port).get("up") == 1
        monkeypatch.setattr(module, "REFRESH_S", 3600.0)
        exporter.discover()
        client.pools.delete("later")
        wait_until(lambda: read(port).get("up") == 1 and collector.pools == ("test",), message="its absence is known")
    assert exporter.fault is None
    wait_until(lambda: "allocator-metrics" not in {one.name for one in threading.enumerate()}, message="its end")


def test_a_pool_that_cannot_be_audited_does_not_end_the_audits(caplog: pytest.LogCaptureFixture) -> None:
    """It has no result."""
    client = memory_allocator({"cpu": 4})
    collector = PoolCollector(client, ["gone", "test"])
    assert Exporter(client, collector, discovers=False, audit_s=3600).audit() == 3600
    assert "pool gone is not audited: " in caplog.text
    assert {*collector._audits} == {"test"}
