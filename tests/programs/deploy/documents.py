"""The documents of `deploy/`, and the command lines in them."""

from __future__ import annotations

import configparser
import functools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import yaml

from allocator.apps.cli.root import root

__all__ = [
    "COMPOSE", "CONTAINERFILE", "DEPLOY", "KUBERNETES", "PROGRAM", "ROOT", "SYSTEMD", "commands", "compose",
    "containers", "instructions", "manifests", "parse", "pods", "unit",
]  # fmt: skip

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"
SYSTEMD: Final = DEPLOY / "systemd"
COMPOSE: Final = DEPLOY / "compose"
CONTAINERFILE: Final = DEPLOY / "container" / "Containerfile"

PROGRAM: Final = "resource-allocator"

_KUSTOMIZE: Final = "kustomize.config.k8s.io/v1beta1"


@functools.cache
def manifests() -> list[tuple[Path, dict[str, Any]]]:
    """The objects of Kubernetes, each with its file; not those that kustomize reads."""
    return [
        (path, document)
        for path in sorted(KUBERNETES.rglob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if document["apiVersion"] != _KUSTOMIZE
    ]


def pods() -> dict[str, dict[str, Any]]:
    """The template of the pods of each workload, by the workload's name."""
    found: dict[str, dict[str, Any]] = {}
    for _, one in manifests():
        spec = one.get("spec", {})
        template = spec["jobTemplate"]["spec"]["template"] if one["kind"] == "CronJob" else spec.get("template")
        if template is not None:
            found[one["metadata"]["name"]] = template
    return found


def containers() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each container: the workload's name, the spec of the pod, its own."""
    for name, template in pods().items():
        for container in template["spec"]["containers"]:
            yield name, template["spec"], container


@functools.cache
def compose() -> dict[str, Any]:
    """The Compose file, with its anchors put in."""
    document: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    return document


def unit(path: Path) -> configparser.RawConfigParser:
    """A unit of systemd; a key that comes several times has its values line by line."""
    known: dict[tuple[str, str], str] = {}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            before = known.get((section, key))
            known[section, key] = value if before is None else f"{before}\n{value}"
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    for (name, key), value in known.items():
        if not parser.has_section(name):
            parser.add_section(name)
        parser.set(name, key, value)
    return parser


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile, each with what follows it."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    words = (line.strip().partition(" ") for line in text.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in words]


def _of_compose() -> Iterator[tuple[str, list[str]]]:
    for name, service in compose()["services"].items():
        if not service["image"].startswith("redis-resource-allocator:"):
            continue
        if "entrypoint" in service:
            for one in re.findall(rf"{PROGRAM} ([^;|&]+)", service["entrypoint"][-1]):
                yield f"compose {name}", shlex.split(one)
        else:
            yield f"compose {name}", service["command"]


def commands() -> list[tuple[str, list[str]]]:
    """Every command line of ours under `deploy/`, without the program's name; and where it stands."""
    found = [
        (f"kubernetes {name}", container["command"][1:])
        for name, _, container in containers()
        if container["command"][0] == PROGRAM
    ]
    for path in sorted(SYSTEMD.glob("*.service")):
        program, *words = shlex.split(unit(path).get("Service", "ExecStart"))
        assert program.rpartition("/")[2] == PROGRAM
        found.append((f"systemd {path.stem}", words))
    found += _of_compose()
    found += [("container", json.loads(rest)) for word, rest in instructions() if word == "CMD"]
    return found


def parse(words: list[str]) -> tuple[click.Command, dict[str, Any]]:
    """Read a command line as the program does, callbacks and types included, but run nothing.

    Raises:
        click.ClickException: It is wrong.
    """
    command: click.Command = root
    context = root.make_context(PROGRAM, list(words))
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)
    return command, context.params
