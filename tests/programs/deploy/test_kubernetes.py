"""The manifests: valid, restricted, and of one mind about names, ports, labels and secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tests.programs.deploy.documents import KUBERNETES, PROGRAM, containers, manifests, parse, pods
from tools import manifests as made

MANIFESTS: Final = manifests()

STANDARD: Final = [(path, one) for path, one in MANIFESTS if not one["apiVersion"].startswith("monitoring.coreos.com/")]

DURATION: Final = re.compile(r"([0-9]+h)?([0-9]+m)?([0-9]+s)?")


def name_of(one: tuple[Path, dict[str, Any]]) -> str:
    return f"{one[1]['kind']}-{one[1]['metadata']['name']}"


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for _, one in MANIFESTS if one["kind"] == kind}


@pytest.mark.parametrize(("path", "document"), STANDARD, ids=map(name_of, STANDARD))
def test_a_manifest_is_valid_to_the_last_field(path: Path, document: dict[str, Any]) -> None:
    """By the schemas of Kubernetes; a field that does not exist is an error."""
    for version in ("1.30", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(document, version, strict=True)


def test_what_the_operator_reads_has_the_fields_of_its_schema() -> None:
    """Its definitions are in no package, so they are said here."""
    (monitor,) = named("ServiceMonitor").values()
    assert set(monitor["spec"]) == {"selector", "jobLabel", "endpoints"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert set(endpoint) == {"port", "path", "interval", "scrapeTimeout"}
    assert all(DURATION.fullmatch(endpoint[key]) for key in ("interval", "scrapeTimeout"))
    (rule,) = named("PrometheusRule").values()
    for group in rule["spec"]["groups"]:
        assert set(group) == {"name", "rules"}
        for one in group["rules"]:
            assert {"alert", "expr"} <= set(one) <= {"alert", "expr", "for", "labels", "annotations"}
            assert DURATION.fullmatch(one.get("for", "0s"))
            assert all(isinstance(text, str) for text in (*one["labels"].values(), *one["annotations"].values()))


@pytest.mark.parametrize("path", made.FILES, ids=lambda path: path.name)
def test_a_file_that_is_made_is_what_its_source_says(path: Path) -> None:
    """The rules, and the rights of the scripts; `python -m tools.manifests` writes them anew."""
    assert path.read_text(encoding="utf-8") == made.FILES[path]()


def test_kustomize_is_given_each_file_and_no_other() -> None:
    """The users alone are applied by hand, with passwords."""
    for folder in (KUBERNETES, KUBERNETES / "monitoring", KUBERNETES / "server"):
        document = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
        there = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "users.yaml"}
        assert set(document["resources"]) == there
        assert document["namespace"] == made.NAMESPACE
        for one in document.get("configMapGenerator", ()):
            assert all((folder / file).exists() for file in one["files"])


def test_the_image_is_renamed_in_one_place() -> None:
    """With the version of this library; that of the server is fixed as well."""
    document = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
    (image,) = document["images"]
    ours = {container["image"] for _, _, container in containers() if container["command"][0] == PROGRAM}
    assert ours == {image["name"]}
    assert image["newTag"] == made.version()
    assert all(":" in one["image"] for _, _, one in containers() if one["image"] not in ours)


@pytest.mark.parametrize("name", pods())
def test_a_pod_keeps_the_restricted_profile(name: str) -> None:
    """And asks for memory, writes nowhere, and has no token of the cluster."""
    spec = pods()[name]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert set(container["resources"]["limits"]) == {"memory"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not [volume for volume in spec.get("volumes", ()) if "hostPath" in volume]


def test_the_cron_job_never_runs_twice_and_ends() -> None:
    """Before the next one is due."""
    spec = named("CronJob")["allocator-cleanup"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["schedule"] == "*/5 * * * *"
    assert 10 < spec["startingDeadlineSeconds"] < 300
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 300
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 1


def test_each_secret_and_file_that_a_container_names_is_there() -> None:
    """What is mounted exists, has the keys that the command names, and is for its user only."""
    secrets = named("Secret")
    used = set()
    for _, spec, container in containers():
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounted: dict[str, Any] = {}
        for mount in container["volumeMounts"]:
            volume = volumes.get(mount["name"], {})
            if "secret" in volume:
                assert mount["readOnly"]
                assert volume["secret"]["defaultMode"] == 0o400
                assert spec["securityContext"]["fsGroup"], "the user could not read it"
                secret = volume["secret"]["secretName"]
                used.add(secret)
                mounted |= {f"{mount['mountPath']}/{key}": secret for key in secrets[secret]["stringData"]}
        files = [one["value"] for one in container.get("env", ()) if one["name"] == "ALLOCATOR_REDIS_URL_FILE"]
        if container["command"][0] == PROGRAM:
            assert len(files) == 1
            token = parse(container["command"][1:])[1].get("token_file")
            files += [token] if token else []
        else:
            files.append("/etc/allocator/users/users.acl")
        assert set(files) == set(mounted)
    assert used | {"allocator-controller"} == set(secrets)


def test_each_user_has_no_more_rights_than_its_job_needs() -> None:
    """The cron job writes; who shows looks only."""
    users = {}
    for name, spec, container in containers():
        if container["command"][0] == PROGRAM:
            (volume,) = [one for one in spec["volumes"] if one["name"] == "user"]
            users[name] = volume["secret"]["secretName"]
    assert users == {
        "allocator-cleanup": "allocator-cron",
        "allocator-exporter": "allocator-inspector",
        "allocator-dashboard": "allocator-inspector",
    }


def test_no_password_is_in_an_environment_or_a_manifest() -> None:
    """The template has words in their places."""
    for _, _, container in containers():
        assert {one["name"] for one in container.get("env", ())} <= {"ALLOCATOR_REDIS_URL_FILE"}
    for secret in named("Secret").values():
        for text in secret["stringData"].values():
            passwords = re.findall(r"(?<=[#>])[^\s~&]+|(?<=\w:)[^:/@\s]+(?=@)|^[A-Z-]+$", text)
            assert passwords
            assert all(re.fullmatch(r"(SHA256|PASSWORD)-OF-[A-Z]+", one) for one in passwords)


def test_each_service_and_probe_finds_its_port() -> None:
    """By name; and the command listens there."""
    templates = pods()
    for name, service in named("Service").items():
        assert service["spec"]["selector"].items() <= templates[name]["metadata"]["labels"].items()
        (container,) = templates[name]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
        if container["command"][0] == PROGRAM:
            assert parse(container["command"][1:])[1]["port"] in ports.values()
    for _, _, container in containers():
        for probe in (container.get("readinessProbe"), container.get("livenessProbe")):
            target = (probe or {}).get("httpGet") or (probe or {}).get("tcpSocket")
            assert target is None or target["port"] in {port["name"] for port in container["ports"]}


def test_the_dashboard_answers_its_probes() -> None:
    """The name in their header is one that it knows; the kubelet would send the address of the pod."""
    (container,) = pods()["allocator-dashboard"]["spec"]["containers"]
    hosts = parse(container["command"][1:])[1]["hosts"]
    for probe in ("readinessProbe", "livenessProbe"):
        (header,) = container[probe]["httpGet"]["httpHeaders"]
        assert header["name"] == "Host"
        assert header["value"] in hosts


def test_the_operator_finds_the_exporter() -> None:
    """By the labels of the Service, not of the pod, and by the name of its port."""
    (monitor,) = named("ServiceMonitor").values()
    service = named("Service")["allocator-exporter"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {one["port"] for one in monitor["spec"]["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "allocator"


def _rules(policy: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], int]]:
    for way, peers in (("ingress", "from"), ("egress", "to")):
        for rule in policy["spec"].get(way, ()):
            for peer in rule[peers]:
                for port in rule["ports"]:
                    yield way, peer, port["port"]


def _selected(selector: dict[str, Any]) -> set[str]:
    wanted = selector.get("matchLabels", {}).items()
    return {name for name, template in pods().items() if wanted <= template["metadata"]["labels"].items()}


def test_only_those_talk_who_have_to() -> None:
    """Each client to the server and to DNS, Prometheus to the exporter, the Ingress controller to the dashboard."""
    policies = named("NetworkPolicy")
    assert policies["allocator-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    clients = {"allocator-cleanup", "allocator-exporter", "allocator-dashboard"}
    assert _selected(policies["allocator-clients"]["spec"]["podSelector"]) == clients
    for name in ("allocator-exporter", "allocator-dashboard", "allocator-server"):
        assert _selected(policies[name]["spec"]["podSelector"]) == {name}
    allowed = {
        (name, way, port, frozenset(_selected(peer["podSelector"])) if set(peer) == {"podSelector"} else "others")
        for name, policy in policies.items()
        for way, peer, port in _rules(policy)
    }
    assert allowed == {
        ("allocator-clients", "egress", 53, "others"),
        ("allocator-clients", "egress", 6379, frozenset({"allocator-server"})),
        ("allocator-exporter", "ingress", 9893, "others"),
        ("allocator-dashboard", "ingress", 9894, "others"),
        ("allocator-server", "ingress", 6379, frozenset(clients)),
        ("allocator-server", "ingress", 6379, "others"),
    }


def test_the_namespace_refuses_pods_that_are_not_restricted() -> None:
    """So that an edit that loosens one is noticed."""
    labels = named("Namespace")[made.NAMESPACE]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
