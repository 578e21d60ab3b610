"""The Compose file, and what it mounts: of one mind about files, secrets, networks and ports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml

from tests.programs.deploy.documents import COMPOSE, DEPLOY, compose, parse, unit
from tests.support.tools import needs
from tools.manifests import version

SERVICES: Final[dict[str, dict[str, Any]]] = compose()["services"]

KEYS: Final = {
    "build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "init",
    "mem_limit", "networks", "pids_limit", "ports", "read_only", "restart", "secrets", "security_opt",
    "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip
"""What a service has, by the Compose specification; an engine refuses others."""

MAKE_SECRETS: Final = DEPLOY / "make_secrets.py"


def made(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the script that makes the passwords."""
    return subprocess.run(
        [sys.executable, str(MAKE_SECRETS), *words, str(folder)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def provisioned(name: str) -> dict[str, Any]:
    document = yaml.safe_load((COMPOSE / "grafana" / "provisioning" / name / "allocator.yaml").read_text("utf-8"))
    assert document["apiVersion"] == 1
    return dict(document)


def test_the_file_has_what_the_specification_knows() -> None:
    """Sections, keys of services, and the ways in which volumes and conditions are written."""
    assert set(compose()) == {"name", "x-closed", "x-client", "services", "networks", "volumes", "secrets"}
    for name, service in SERVICES.items():
        assert set(service) <= KEYS, name
        for volume in service.get("volumes", ()):
            assert {"type", "source", "target"} <= set(volume) <= {"type", "source", "target", "read_only"}
        for condition in service.get("depends_on", {}).values():
            assert condition == {"condition": "service_healthy"}
        check = service.get("healthcheck", {})
        assert check.get("test", ["CMD"])[0] in ("CMD", "CMD-SHELL")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_closed_and_bounded(name: str) -> None:
    """It writes to its volumes only, may do nothing as root, and cannot take all memory."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert ":" in service["image"], "a tag"
    assert not service["image"].endswith(":latest")


def test_what_a_service_names_is_declared_and_there() -> None:
    """Files of this folder, volumes, networks and secrets; and nothing is declared that no service has."""
    document = compose()
    used: dict[str, set[str]] = {"networks": set(), "volumes": set(), "secrets": set()}
    for service in SERVICES.values():
        used["networks"] |= set(service["networks"])
        used["secrets"] |= set(service.get("secrets", ()))
        for volume in service.get("volumes", ()):
            if volume["type"] == "volume":
                used["volumes"].add(volume["source"])
            else:
                assert (COMPOSE / volume["source"]).exists(), volume["source"]
                assert volume["read_only"] is True
        for word in re.findall(r"/run/secrets/([\w.-]+)", json.dumps(service)):
            assert word in service["secrets"]
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        if "build" in service:
            context = COMPOSE / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).exists()
    for kind, names in used.items():
        assert names == set(document[kind]), kind


def test_only_loopback_is_open_and_the_server_is_not_at_all() -> None:
    """Ports stand behind 127.0.0.1, and who has one is in a network that leads outside."""
    open_ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(open_ports) == {"dashboard", "prometheus", "grafana"}
    for name, ports in open_ports.items():
        assert all(port.startswith("127.0.0.1:") for port in ports)
        assert "outside" in SERVICES[name]["networks"]
    networks = compose()["networks"]
    assert networks["store"] == networks["metrics"] == {"internal": True}
    assert SERVICES["server"]["networks"] == ["store"]


def test_each_reaches_what_it_reads() -> None:
    """Prometheus the exporter, Grafana Prometheus, each client the server."""
    scraped = yaml.safe_load((COMPOSE / "prometheus.yml").read_text(encoding="utf-8"))
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in scraped["scrape_configs"]}
    assert targets["allocator"] == [f"exporter:{parse(SERVICES['exporter']['command'])[1]['port']}"]
    (source,) = provisioned("datasources")["datasources"]
    address = urlsplit(source["url"])
    assert (address.hostname, address.port) == ("prometheus", 9090)
    for one, other in (("prometheus", "exporter"), ("grafana", "prometheus")):
        assert set(SERVICES[one]["networks"]) & set(SERVICES[other]["networks"])
    for name, service in SERVICES.items():
        if service["image"].startswith("redis-resource-allocator:"):
            assert service["image"].endswith(f":{version()}")
            assert "store" in service["networks"], name
            assert set(service["environment"]) == {"ALLOCATOR_REDIS_URL_FILE"}


def test_the_rules_and_the_dashboard_are_mounted_where_they_are_looked_for() -> None:
    """Under the names that Prometheus' configuration and Grafana's provisioning have."""
    mounted = {volume["target"]: volume["source"] for one in SERVICES.values() for volume in one.get("volumes", ())}
    scraped = yaml.safe_load((COMPOSE / "prometheus.yml").read_text(encoding="utf-8"))
    assert [mounted[path] for path in scraped["rule_files"]] == ["../prometheus/rules.yml"]
    (provider,) = provisioned("dashboards")["providers"]
    assert mounted[f"{provider['options']['path']}/allocator.json"] == "../grafana/allocator.json"
    assert mounted["/etc/grafana/provisioning"] == "grafana/provisioning"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounted[home] == "../grafana/allocator.json"


@needs("promtool")
def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    """With the rules of this checkout in their place."""
    text = (COMPOSE / "prometheus.yml").read_text(encoding="utf-8")
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus/allocator", str(DEPLOY / "prometheus")), encoding="utf-8")
    ran = subprocess.run(
        ["promtool", "check", "config", "--lint-fatal", str(file)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 rule files found" in ran.stdout


def test_the_passwords_are_made_once(tmp_path: Path) -> None:
    """Each file that Compose, the units and Kubernetes want; closed to others; kept when they are made again."""
    folder = tmp_path / "secrets"
    assert made(folder).returncode == 0
    files = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {Path(one["file"]).name for one in compose()["secrets"].values()} <= set(files)
    for path in (DEPLOY / "systemd").glob("*.service"):
        for line in unit(path)["Service"]["LoadCredential"].splitlines():
            assert Path(line.partition(":")[2]).name in files
    assert "-OF-" not in "".join(files.values())
    assert made(folder).returncode == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == files
    assert made(folder, "--renew", "cron").returncode == 0
    changed = {path.name for path in folder.iterdir() if path.read_text(encoding="utf-8") != files[path.name]}
    assert changed == {"passwords", "users.acl", "cron.url"}


def test_the_secrets_of_kubernetes_are_filled_in(tmp_path: Path) -> None:
    """The template of users.yaml, and nothing else on the disk but the passwords."""
    ran = made(tmp_path / "kept", "--kubernetes", "--tls", "--host", "allocator-server:6379")
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["passwords"]
    found = {one["metadata"]["name"]: one["stringData"] for one in yaml.safe_load_all(ran.stdout)}
    url = urlsplit(found["allocator-cron"]["url"])
    assert (url.scheme, url.username, url.hostname, url.port) == ("rediss", "cron", "allocator-server", 6379)
    kept = dict(line.split("=", 1) for line in (tmp_path / "kept" / "passwords").read_text().splitlines())
    assert url.password == kept["cron"]
    assert "-OF-" not in ran.stdout


def test_a_folder_with_other_things_is_not_closed_to_others(tmp_path: Path) -> None:
    """It may be /etc."""
    (tmp_path / "other").touch()
    mode = tmp_path.stat().st_mode
    ran = made(tmp_path)
    assert ran.returncode == 2
    assert "has other things in it" in ran.stderr
    assert tmp_path.stat().st_mode == mode
    assert made(tmp_path / "new", "--host", "no port").returncode == 2
