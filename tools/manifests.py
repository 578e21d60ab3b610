"""What `deploy/` has of other sources: `python -m tools.manifests` writes it; `--check` compares.

The alert rules as the Prometheus operator wants them, and the users' rights, which are read from the scripts.
`deploy/make_secrets.py` puts passwords where the words in capitals stand.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import yaml

from allocator.access import ROLES, user

DEPLOY: Final = Path(__file__).parents[1] / "deploy"

RULES: Final = DEPLOY / "prometheus" / "rules.yml"

SERVER: Final = (7, 2)
"""The oldest server that the rights are for: the images are newer."""

NAMESPACE: Final = "allocator"

_MADE: Final = "made by `python -m tools.manifests`"


class _Text(str):
    """A text that is written as a block."""

    __slots__ = ()


def _as_block(dumper: yaml.SafeDumper, text: _Text) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")


yaml.SafeDumper.add_representer(_Text, _as_block)


def _dump(document: Any) -> str:
    return yaml.safe_dump(document, sort_keys=False, width=1_000, allow_unicode=True)


def version() -> str:
    """That of the library, which images carry as their tag."""
    with (DEPLOY.parent / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def _labels(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": NAMESPACE,
        "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "allocator"},
    }


def acl() -> str:
    """The file of the server: nobody without a login, one who may do everything, and a user for each role."""
    lines = ["user default off", "user admin on #SHA256-OF-ADMIN ~* &* +@all"]
    for role in ROLES:
        word = f"SHA256-OF-{role.upper()}"
        lines.append(user(role, password=word, server=SERVER).line().replace(f">{word}", f"#{word}"))
    return "\n".join(lines) + "\n"


def users() -> str:
    """The Secrets: the server's file, the URL of each user, and the token of the dashboard."""
    head = (
        f"# Users with the least rights, {_MADE}: a template.\n"
        "# `python3 deploy/make_secrets.py --kubernetes FOLDER` prints it with passwords, which it keeps there.\n"
    )
    secrets = {"allocator-server": {"users.acl": _Text(acl())}}
    for role in ROLES:
        url = f"redis://{role}:PASSWORD-OF-{role.upper()}@SERVER/0"
        secrets[f"allocator-{role}"] = {"url": _Text(url)}
    secrets["allocator-dashboard"] = {"token": _Text("PASSWORD-OF-DASHBOARD")}
    documents = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": _labels(name), "type": "Opaque", "stringData": values}
        for name, values in secrets.items()
    ]
    return head + "---\n".join(map(_dump, documents))


def rules() -> str:
    """The rules of deploy/prometheus as a PrometheusRule."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": _labels("allocator"),
        "spec": {"groups": groups},
    }
    return f"# The rules of deploy/prometheus/rules.yml, {_MADE}.\n" + _dump(document)


FILES: Final = {
    DEPLOY / "users.acl": acl,
    DEPLOY / "kubernetes" / "users.yaml": users,
    DEPLOY / "kubernetes" / "monitoring" / "rules.yaml": rules,
}
"""What is made, and how."""


def main() -> None:
    """Write the files, or say which differ."""
    if "--check" not in sys.argv[1:]:
        for path, build in FILES.items():
            path.write_text(build(), encoding="utf-8")
        return
    stale = [path for path, build in FILES.items() if path.read_text(encoding="utf-8") != build()]
    if stale:
        sys.exit(f"stale: {', '.join(map(str, stale))}; run python -m tools.manifests")


if __name__ == "__main__":
    main()
