"""The alert rules and the dashboard: what they name exists, and what they say fires."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from allocator.metrics import CLIENT_METRICS, METRICS, SERVER_METRICS
from tests.programs.metrics.test_collector import whole
from tests.support.tools import needs
from tools import dashboard

ROOT: Final = Path(__file__).parents[3]
RULES: Final = ROOT / "deploy" / "prometheus" / "rules.yml"
RULES_TEST: Final = Path(__file__).parent / "rules_test.yml"
DOCUMENT: Final = ROOT / "docs" / "metrics.md"

BESIDE: Final = {**CLIENT_METRICS, **SERVER_METRICS}
"""The metrics of clients and of servers."""

SAMPLES: Final = {name: metric.labels for metric in BESIDE.values() for name in metric.samples}

_NAME: Final = re.compile(r"\ballocator_\w+")
_LABELS: Final = re.compile(r"(allocator_\w+)\{([^}]*)\}")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[str]:
    """Of the rules, and of the dashboard's panels and variables."""
    yield from (rule["expr"] for rule in rules())
    board = json.loads(dashboard.FILE.read_text(encoding="utf-8"))
    yield from (target["expr"] for panel in board["panels"] for target in panel.get("targets", ()))
    yield from (one["query"] for one in board["templating"]["list"] if one["type"] == "query")


def promtool(*words: str, text: str | None = None) -> str:
    """What it prints; it must be content."""
    ran = subprocess.run(["promtool", *words], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@needs("promtool")
def test_names_and_units_follow_the_rules_of_prometheus() -> None:
    """It has nothing to say."""
    assert promtool("check", "metrics", text=whole()) == ""


@needs("promtool")
def test_each_alert_fires_when_it_should_and_not_before() -> None:
    """By the stories of rules_test.yml."""
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(RULES_TEST))


def test_each_alert_has_a_story_and_is_explained() -> None:
    """Whoever is woken by one looks it up."""
    names = [rule["alert"] for rule in rules()]
    stories = yaml.safe_load(RULES_TEST.read_text(encoding="utf-8"))["tests"]
    tested = {check["alertname"] for story in stories for check in story["alert_rule_test"] if check["exp_alerts"]}
    assert len(names) == len(set(names))
    assert tested == set(names)
    explained = re.findall(r"^\| `(Allocator\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert explained == names


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_an_expression_names_metrics_and_labels_that_exist(expression: str) -> None:
    """A renamed metric would leave an empty panel, or an alert that never fires."""
    labels_of = {name: metric.labels for name, metric in METRICS.items()} | SAMPLES
    assert set(_NAME.findall(expression)) <= labels_of.keys()
    for name, labels in _LABELS.findall(expression):
        assert set(re.findall(r'(\w+)[=!]~?"', labels)) <= {*labels_of[name]}


@needs("promtool")
def test_each_expression_of_the_dashboard_parses(tmp_path: Path) -> None:
    """As an expression of a rule."""
    parts = [one.replace("$__rate_interval", "5m") for one in expressions() if not one.startswith("label_values")]
    group = {"name": "all", "rules": [{"record": f"r{n}", "expr": one} for n, one in enumerate(parts)]}
    file = tmp_path / "expressions.yml"
    file.write_text(yaml.safe_dump({"groups": [group]}), encoding="utf-8")
    promtool("check", "rules", str(file))


def test_the_dashboard_is_what_its_script_writes() -> None:
    """`python -m tools.dashboard` writes it anew."""
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.build()


def test_the_dashboard_shows_each_metric_that_changes() -> None:
    """What is left out is named here: settings, instants, and what others contain."""
    shown = {name for one in expressions() for name in _NAME.findall(one)}
    assert METRICS.keys() - shown == {
        "allocator_build_info", "allocator_pools", "allocator_pool_info", "allocator_pool_generation",
        "allocator_pool_recovery_remaining_seconds", "allocator_pool_clock_offset_seconds",
        "allocator_resource_capacity", "allocator_earliest_deadline_timestamp_seconds",
        "allocator_oldest_pinned_age_seconds", "allocator_waiting_left_out", "allocator_quota_kept",
        "allocator_quota_available", "allocator_quota_maximum",
    }  # fmt: skip


def test_the_document_has_the_table_of_the_metrics() -> None:
    """Name, labels, help, in their order."""
    rows = re.findall(r"^\| `(allocator_\w+)` \| (.*?) \| (.*) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    wanted = [(one.name, ", ".join(f"`{label}`" for label in one.labels), one.help) for one in METRICS.values()]
    assert [(name, labels.strip(), said) for name, labels, said in rows] == wanted


def test_the_dashboard_shows_each_metric_of_clients_and_servers() -> None:
    """By one of its samples."""
    shown = {name for one in expressions() for name in _NAME.findall(one)}
    assert [name for name, metric in BESIDE.items() if shown.isdisjoint(metric.samples)] == []


def test_the_document_has_the_table_of_the_metrics_of_clients_and_servers() -> None:
    """Kind, name, labels, help, in their order."""
    row = r"^\| (counter|gauge|histogram) \| `(allocator_\w+)` \| (.*?) \| (.*) \|$"
    rows = re.findall(row, DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    wanted = [
        (one.kind, one.name, ", ".join(f"`{label}`" for label in one.labels), one.help) for one in BESIDE.values()
    ]
    assert [(kind, name, labels.strip(), said) for kind, name, labels, said in rows] == wanted
