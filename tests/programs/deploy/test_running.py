"""What the Compose file starts, started without containers: its server, its users, its commands, its Prometheus."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import redis
import yaml

from allocator import Allocator, Limit
from allocator._engine.servers.process import GuardedProcess
from allocator.apps import dashboard
from tests.programs.deploy.documents import COMPOSE, DEPLOY, KUBERNETES, compose
from tests.programs.deploy.test_compose import made
from tests.programs.metrics.test_deploy import expressions
from tests.support.servers import Engine, Server, ServerReplyError, binary, engines, free_port
from tests.support.tools import needs
from tests.support.waiters import begun
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

MODERN: Final = [engine for engine in engines() if engine is not Engine.REDIS7]
"""Those that the users' rights are for: Redis 7.0 does not know all of the commands."""

PAGE: Final = Path(dashboard.__file__).parent / "static" / "index.html"

IN_TROUBLE: Final = "allocator_pool_error"
"""The one metric that a healthy store has not."""


class Deployed(Server):
    """The server with the configuration file of the deployment; only where it listens and writes is another place."""

    def __init__(self, engine: Engine, users: Path) -> None:
        super().__init__(engine, tcp=True)
        self._users = users

    def _command_line(self) -> list[str]:
        program = binary(self.engine)
        assert program is not None
        places = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": self.socket,
            "aclfile": str(self._users),
        }
        text = (KUBERNETES / "server" / "valkey.conf").read_text(encoding="utf-8")
        assert "\ndir /data\n" in text
        configuration = self.folder / "valkey.conf"
        configuration.write_text(text.replace("\ndir /data\n", f"\ndir {self.folder}\n"), encoding="utf-8")
        return [str(program), str(configuration), *(word for at, to in places.items() for word in (f"--{at}", to))]


class Stack:
    """The server, and the commands of the Compose file against it."""

    def __init__(self, server: Server, secrets: Path) -> None:
        self.server = server
        self._secrets = secrets

    def url(self, user: str) -> str:
        """Of a user."""
        return (self._secrets / f"{user}.url").read_text(encoding="utf-8").strip()

    def words(self, service: str, **replaced: str) -> list[str]:
        """The command of a service, with the secrets of this folder, and other values of these options."""
        found = compose()["services"][service]
        words = found["command"] if "entrypoint" not in found else _in_loop(found["entrypoint"][-1])
        words = [word.replace("/run/secrets", str(self._secrets)) for word in words]
        for option, value in replaced.items():
            words[words.index(f"--{option}") + 1] = value
        return [sys.executable, "-m", "allocator", *words]

    def in_shell(self, service: str, port: str, *more: str) -> list[str]:
        """The program of a service that a shell starts, at other places; none: it needs no shell."""
        program = compose()["services"][service].get("entrypoint", [""])[-1]
        for here, there in (
            ("/tmp/", f"{self.server.folder}/"),
            ("/run/secrets/", f"{self._secrets}/"),
            ("exec resource-allocator", f"exec {sys.executable} -m allocator"),
            ("--address 0.0.0.0", "--address 127.0.0.1"),
            ("--port 9894", " ".join(("--port", port, *more))),
        ):
            assert not program or here in program
            program = program.replace(here, there)
        return ["sh", "-c", program] if program else []

    def environment(self, service: str) -> dict[str, str]:
        """That of a service."""
        kept = {name: text for name, text in os.environ.items() if name in ("PATH", "PYTHONPATH", "HOME")}
        told = compose()["services"][service]["environment"]
        return kept | {name: text.replace("/run/secrets", str(self._secrets)) for name, text in told.items()}

    def run(self, service: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Run the command of a service to its end."""
        return subprocess.run(
            [*self.words(service), *more], env=self.environment(service),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def ask_as(self, user: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run any command as a user."""
        environment = self.environment("exporter") | {"ALLOCATOR_REDIS_URL_FILE": str(self._secrets / f"{user}.url")}
        return subprocess.run(
            [sys.executable, "-m", "allocator", *words], env=environment,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def fit(self, user: str) -> str:
        """What the doctor says with the rights of a user; nothing where something is bad."""
        ran = self.ask_as(user, "doctor", "-o", "json")
        return ran.stdout if ran.returncode == 0 else ""

    @contextlib.contextmanager
    def serving(self, service: str, log: Path, *more: str) -> Iterator[str]:
        """A service that serves, on a port of its own; yields where."""
        port = str(free_port())
        environment = [f"{name}={text}" for name, text in self.environment(service).items()]
        words = self.in_shell(service, port, *more) or [*self.words(service, port=port, address="127.0.0.1"), *more]
        process = GuardedProcess(["env", "-i", *environment, *words], output=log)
        try:
            where = f"127.0.0.1:{port}"
            wait_until(lambda: status(f"http://{where}/") or not process.running, message=service)
            assert process.running, log.read_text(encoding="utf-8")
            yield where
        finally:
            process.kill()


def _in_loop(program: str) -> list[str]:
    """The command within the loop of a shell."""
    found = re.search(r"resource-allocator ([^;]+);", program)
    assert found
    return found[1].split()


def status(url: str, **headers: str) -> int:
    """The status of an answer; 0: there is none."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.fixture(params=MODERN[:1], ids=str)
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """The server with its users, and nothing in it."""
    secrets = tmp_path / "secrets"
    assert made(secrets).returncode == 0
    with Deployed(request.param, secrets / "users.acl") as server:
        assert server.port is not None
        assert made(secrets, "--host", f"127.0.0.1:{server.port}").returncode == 0
        yield Stack(server, secrets)


@pytest.mark.parametrize("stack", MODERN, ids=str, indirect=True)
def test_the_server_is_as_the_doctor_wants_it(stack: Stack) -> None:
    """With the rights of a controller: every script runs, and nothing is left to be changed."""
    ran = wait_until(partial(stack.fit, "controller"), timeout_s=120, message="a busy machine has time for each script")
    verdicts = {one["check"]: one["verdict"] for one in json.loads(ran)["items"]}
    del verdicts["latency"]  # of a busy machine
    assert set(verdicts.values()) == {"ok"}, verdicts


def test_the_jobs_do_theirs(stack: Stack) -> None:
    """The pool is made once, and what is due is taken back; the exit code is 0 also where nothing is."""
    assert stack.run("pool").returncode == 0
    again = stack.run("pool")
    assert again.returncode == 0, again.stderr
    quiet = stack.run("cleanup")
    assert (quiet.returncode, quiet.stdout) == (0, ""), quiet.stderr
    with Allocator.from_url(stack.url("controller")) as client:
        client.allocate({"cpu": 1}, ttl=1, id="dead")
        reclaimed = wait_until(lambda: stack.run("cleanup").stdout, message="the deadline")
        assert json.loads(reclaimed)["ids"] == ["dead"]
        assert client.maintenance.audit()


def test_no_user_does_the_work_of_another(stack: Stack) -> None:
    """The inspector only looks, no part has the server itself, and nobody comes without a login."""
    assert stack.run("pool").returncode == 0
    assert stack.ask_as("controller", "allocate", "cpu=1", "--ttl", "1m").returncode == 0
    assert stack.ask_as("inspector", "usage").returncode == 0
    for words in (("allocate", "cpu=1", "--ttl", "1m"), ("cleanup", "--all-pools"), ("pool", "set", "cpu=1")):
        refused = stack.ask_as("inspector", *words)
        assert (refused.returncode, "does not permit this user" in refused.stderr) == (5, True), refused.stderr
    for user in ("controller", "inspector", "cron"):
        with redis.Redis.from_url(stack.url(user)) as client:
            for command in (("FLUSHALL",), ("CONFIG", "SET", "maxmemory", "1"), ("ACL", "LIST"), ("GET", "theirs")):
                with pytest.raises(redis.ResponseError, match=r"(?i)no permissions"):
                    client.execute_command(*command)
    with pytest.raises(ServerReplyError, match="NOAUTH"):
        stack.server.ask("INFO")


def test_the_dashboard_serves_what_its_checks_ask_for(stack: Stack, tmp_path: Path) -> None:
    """With an inspector's rights; the health of Compose's check, and the page of Kubernetes' probes by their name."""
    assert stack.run("pool").returncode == 0
    page = 200 if PAGE.exists() else 404
    words = ("--host", "allocator-dashboard")
    with stack.serving("dashboard", tmp_path / "dashboard.log", *words) as where:
        assert status(f"http://{where}/healthz") == 200
        assert status(f"http://{where}/", Host="allocator-dashboard") == page
        assert status(f"http://{where}/", Host="10.0.0.1") == 421
        token = (tmp_path / "secrets" / "dashboard-token").read_text(encoding="utf-8").strip()
        assert status(f"http://{where}/api/v1/pools/default") == 401
        assert status(f"http://{where}/api/v1/pools/default", Authorization=f"Bearer {token}") == 200
        assert token not in (tmp_path / "dashboard.log").read_text(encoding="utf-8")
        stack.server.kill()
        wait_until(lambda: status(f"http://{where}/healthz") == 503, message="the server is away")
        assert status(f"http://{where}/") == page


@contextlib.contextmanager
def prometheus(tmp_path: Path, exporter: str) -> Iterator[str]:
    """A real one with the configuration of Compose, which looks every second; yields where its API is."""
    where = f"127.0.0.1:{free_port()}"
    told = yaml.safe_load((COMPOSE / "prometheus.yml").read_text(encoding="utf-8"))
    told["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    told["rule_files"] = [str(DEPLOY / "prometheus" / Path(path).name) for path in told["rule_files"]]
    for job in told["scrape_configs"]:
        job["static_configs"][0]["targets"] = [exporter if job["job_name"] == "allocator" else where]
        job["scrape_timeout"] = "1s"
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(told), encoding="utf-8")
    data = f"--storage.tsdb.path={tmp_path / 'prometheus'}"
    command = ["prometheus", f"--config.file={file}", data, f"--web.listen-address={where}"]
    log = tmp_path / "prometheus.log"
    process = GuardedProcess(command, output=log)
    try:
        wait_until(lambda: status(f"http://{where}/-/ready") == 200 or not process.running, message="Prometheus")
        assert process.running, log.read_text()
        yield f"http://{where}/api/v1"
    finally:
        process.kill()


def asked(api: str, path: str, **query: str) -> Any:
    """The data of an answer."""
    with urllib.request.urlopen(f"{api}/{path}?{urllib.parse.urlencode(query)}", timeout=30) as reply:
        return json.load(reply)["data"]


def result(api: str, expression: str) -> list[Any]:
    """What an expression of the dashboard has now, for all pools and resources."""
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", expression)
    expression = f"count by ({found[2]}) ({found[1]})" if found else expression
    expression = expression.replace("$__rate_interval", "1m")
    return list(asked(api, "query", query=re.sub(r'"\$\w+"', '".*"', expression))["result"])


@needs("prometheus")
def test_prometheus_reads_it_all(stack: Stack, tmp_path: Path) -> None:
    """Targets are up, the rules are loaded, no expression of the dashboard is without data, and trouble is seen."""
    assert stack.run("pool").returncode == 0
    wanted = {one for one in expressions() if not one.startswith(("absent", "max by"))}
    board = json.loads((DEPLOY / "grafana" / "allocator.json").read_text(encoding="utf-8"))
    shown = {target["expr"] for panel in board["panels"] for target in panel.get("targets", ())}
    shown |= {one["query"] for one in board["templating"]["list"] if one["type"] == "query"}
    assert shown <= wanted
    with (
        Allocator.from_url(stack.url("controller")) as client,
        stack.serving("exporter", tmp_path / "exporter.log") as exporter,
        prometheus(tmp_path, exporter) as api,
    ):
        client.quotas.set("team-a", {"cpu": Limit(4)})
        client.quotas.set("team-b", {"cpu": Limit(8)})
        client.allocate({"cpu": 26, "memory": "8Gi"}, ttl=None, scope="team-a")
        wait_until(
            lambda: (
                {one["labels"]["job"]: one["health"] for one in asked(api, "targets")["activeTargets"]}
                == {"allocator": "up", "prometheus": "up"}
            ),
            message="targets",
        )
        groups = asked(api, "rules")["groups"]
        assert groups
        assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
        with begun(client, {"cpu": 20}):
            for one in sorted(shown):
                if IN_TROUBLE not in one and "allocator_client_" not in one:  # those come from the controllers
                    # What is shown only in trouble must at least be there.
                    wait_until(partial(result, api, one.removesuffix(" == 0")), message=one)
        stack.server.kill()
        wait_until(lambda: result(api, IN_TROUBLE), message="the error")
        wait_until(
            lambda: "AllocatorDown" in {one["labels"]["alertname"] for one in asked(api, "alerts")["alerts"]},
            message="the alert",
        )
