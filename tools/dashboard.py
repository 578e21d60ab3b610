"""The Grafana dashboard `deploy/grafana/allocator.json`: `python -m tools.dashboard` writes it; `--check` compares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as Timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

FILE: Final = Path(__file__).parents[1] / "deploy" / "grafana" / "allocator.json"

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")

POOL: Final = '{pool=~"$pool"}'
RESOURCE: Final = '{pool=~"$pool", resource=~"$resource"}'
BUSY: Final = (
    'allocator_resource_allocated{pool=~"$pool", resource=~"$resource"}'
    ' / (allocator_resource_limit{pool=~"$pool", resource=~"$resource"} > 0)'
)

WIDE, HALF, STAT = 24, 12, 4
TALL, LOW = 8, 4


def _target(name: str, expression: str, legend: str) -> Dataquery:
    return Dataquery().ref_id(name).datasource(SOURCE).expr(expression).legend_format(legend)


def _lines(
    title: str, said: str, *targets: tuple[str, str], unit: str = "short", span: int = HALF, most: float | None = None
) -> Timeseries:
    """Lines over time, from zero on; each target is an expression and its legend."""
    legend = VizLegendOptions().display_mode(LegendDisplayMode.TABLE).placement(LegendPlacement.BOTTOM)
    legend = legend.calcs(["lastNotNull", "max"]).show_legend(True)
    panel = Timeseries().title(title).description(said).datasource(SOURCE).unit(unit).min(0)
    panel = panel.span(span).height(TALL).fill_opacity(10).line_width(1).legend(legend)
    for name, target in zip("ABC", targets, strict=False):
        panel = panel.with_target(_target(name, *target))
    return panel if most is None else panel.max(most)


def _number(title: str, said: str, expression: str, *, unit: str = "short", warn: float, bad: float) -> Stat:
    """One number, with the values from which on it is yellow and red; the words of the title say it without colour."""
    steps = [Threshold(None, "green"), Threshold(warn, "yellow"), Threshold(bad, "red")]
    thresholds = ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    panel = Stat().title(title).description(said).datasource(SOURCE).unit(unit).thresholds(thresholds)
    panel = panel.span(STAT).height(LOW).no_value("none").reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.with_target(_target("A", expression, "").instant())


def _variable(name: str, label: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
    )


def _glance(board: Dashboard) -> Dashboard:
    stats = (
        _number("Pools not read", "allocator_pool_up is 0.", f"sum(1 - allocator_pool_up{POOL})", warn=1, bad=1),
        _number("Fullest resource", "Allocated of the limit.", f"max({BUSY})", unit="percentunit", warn=0.7, bad=0.9),
        _number("Waiting", "Requests in line.", f"sum(allocator_waiting{POOL})", warn=1, bad=50),
        _number(
            "Oldest wait",
            "How long the first in line of any priority has waited.",
            f"max(allocator_oldest_wait_seconds{POOL})",
            unit="s",
            warn=600,
            bad=3600,
        ),
        _number(
            "Overdue",
            "How long the earliest deadline is past: nobody has cleaned up since, or was short of room.",
            f"max(allocator_deadline_overdue_seconds{POOL})",
            unit="s",
            warn=600,
            bad=3600,
        ),
        _number("Audit findings", "Of the last audits.", f"sum(allocator_audit_findings{POOL})", warn=1, bad=1),
    )
    board = board.with_row(Row("At a glance"))
    for one in stats:
        board = board.with_panel(one)
    return board


def _resources(board: Dashboard) -> Dashboard:
    by = "{{pool}} {{resource}}"
    return (
        board.with_row(Row("Resources"))
        .with_panel(
            _lines("Utilisation", "Allocated of what may be given out.", (BUSY, by), unit="percentunit", span=WIDE)
        )
        .with_panel(
            _lines(
                "Cores",
                "What is allocated, and the limit.",
                ('allocator_resource_allocated{pool=~"$pool", unit="core"}', "{{pool}} allocated"),
                ('allocator_resource_limit{pool=~"$pool", unit="core"}', "{{pool}} limit"),
            )
        )
        .with_panel(
            _lines(
                "Bytes",
                "What is allocated, and the limit, of resources in bytes.",
                ('allocator_resource_allocated{pool=~"$pool", unit="byte"}', f"{by} allocated"),
                ('allocator_resource_limit{pool=~"$pool", unit="byte"}', f"{by} limit"),
                unit="bytes",
            )
        )
        .with_panel(
            _lines("Available", "For a request without a scope.", (f"allocator_resource_available{RESOURCE}", by))
        )
        .with_panel(
            _lines(
                "Kept and overcommitted",
                "Guaranteed to scopes and not used; allocated above a lowered limit.",
                (f"allocator_resource_kept{RESOURCE}", f"{by} kept"),
                (f"allocator_resource_overcommitted{RESOURCE}", f"{by} overcommitted"),
            )
        )
    )


def _activity(board: Dashboard) -> Dashboard:
    return (
        board.with_row(Row("Allocations and the line"))
        .with_panel(
            _lines(
                "Allocations",
                "Live ones, and those past their deadline.",
                (f"sum by (pool, kind) (allocator_allocations{POOL})", "{{pool}} {{kind}}"),
                (f"allocator_allocations_due{POOL}", "{{pool}} due"),
            )
        )
        .with_panel(
            _lines(
                "Changes",
                "Events per second, by their kind; renewals are none.",
                (
                    f"sum by (pool, kind) (rate(allocator_events_total{POOL}[$__rate_interval])) > 0",
                    "{{pool}} {{kind}}",
                ),
                (f"rate(allocator_pool_revision{POOL}[$__rate_interval])", "{{pool}} all"),
                unit="ops",
            )
        )
        .with_panel(
            _lines(
                "Denials",
                "Requests that were denied per second, by the reason.",
                (
                    f"sum by (pool, reason) (rate(allocator_denials_total{POOL}[$__rate_interval])) > 0",
                    "{{pool}} {{reason}}",
                ),
                unit="ops",
            )
        )
        .with_panel(
            _lines(
                "Waiting by priority",
                "Requests in line.",
                (f"allocator_waiting_by_priority{POOL}", "{{pool}} {{priority}}"),
            )
        )
        .with_panel(
            _lines(
                "First in line",
                "How long the first of each priority has waited.",
                (f"allocator_oldest_wait_seconds{POOL}", "{{pool}} {{priority}}"),
                unit="s",
            )
        )
    )


def _quotas(board: Dashboard) -> Dashboard:
    labels = '{pool=~"$pool", resource=~"$resource", scope=~"$scope"}'
    by = "{{pool}} {{scope}} {{resource}}"
    return (
        board.with_row(Row("Quotas"))
        .with_panel(
            _lines(
                "Used of the share",
                "Above 1 the scope borrows.",
                (f"allocator_quota_allocated{labels} / (allocator_quota_nominal{labels} > 0)", by),
                unit="percentunit",
            )
        )
        .with_panel(
            _lines(
                "Borrowed and lent",
                "How far scopes are above their share; what they lack of it because others have it.",
                (f"allocator_quota_borrowed{labels} > 0", f"{by} borrowed"),
                (f"allocator_quota_lent{labels} > 0", f"{by} lent"),
            )
        )
        .with_panel(
            _lines(
                "Scopes",
                "All, and those without metrics.",
                (f"allocator_quota_scopes{POOL}", "{{pool}}"),
                (f"allocator_quota_scopes_left_out{POOL}", "{{pool}} left out"),
            )
        )
    )


def _health(board: Dashboard) -> Dashboard:
    return (
        board.with_row(Row("Health"))
        .with_panel(
            _lines(
                "States other than active",
                "1 while the pool is in it.",
                ('allocator_pool_state{pool=~"$pool", state!="active"}', "{{pool}} {{state}}"),
                (f"allocator_pool_error{POOL}", "{{pool}} not read: {{code}}"),
                most=1,
            )
        )
        .with_panel(
            _lines(
                "Scrape",
                "How long reading all pools takes.",
                ("allocator_scrape_duration_seconds", "{{instance}}"),
                unit="s",
            )
        )
    )


def _clients(board: Dashboard) -> Dashboard:
    """Of the programs that register a `ClientCollector`."""
    calls = "allocator_client_call_duration_seconds"
    longest = f"histogram_quantile(0.95, sum by (le, verb) (rate({calls}_bucket[$__rate_interval])))"
    return (
        board.with_row(Row("Clients"))
        .with_panel(
            _lines(
                "Calls",
                "Per second, by the method and its outcome.",
                (f"sum by (verb, outcome) (rate({calls}_count[$__rate_interval]))", "{{verb}} {{outcome}}"),
                unit="ops",
            )
        )
        .with_panel(
            _lines(
                "Time of calls",
                "95 of 100 calls take at most so long, retries included, time in line not.",
                (longest, "{{verb}}"),
                unit="s",
            )
        )
        .with_panel(
            _lines(
                "Retries and errors",
                "Per second, by the code.",
                ("sum by (cause) (rate(allocator_client_retries_total[$__rate_interval]))", "retry {{cause}}"),
                ("sum by (code) (rate(allocator_client_errors_total[$__rate_interval]))", "error {{code}}"),
                unit="ops",
            )
        )
        .with_panel(
            _lines(
                "Undos",
                "Calls whose outcome no caller received: those that wait, and per second those done and given up.",
                ("sum by (instance) (allocator_client_undos_pending)", "{{instance}} pending"),
                ("sum by (change) (rate(allocator_client_undos_total[$__rate_interval]))", "{{change}}"),
            )
        )
    )


def _holders(board: Dashboard) -> Dashboard:
    """What clients hold and wait for; in the row of clients."""
    ages = "allocator_client_renewal_age_ratio_bucket"
    waits = "allocator_client_wait_duration_seconds_bucket"
    return (
        board.with_panel(
            _lines(
                "Renewals",
                "Per second, by the outcome; leases that were lost.",
                ("sum by (outcome) (rate(allocator_client_renewals_total[$__rate_interval]))", "{{outcome}}"),
                ("sum by (code) (rate(allocator_client_leases_lost_total[$__rate_interval]))", "lost {{code}}"),
                unit="ops",
            )
        )
        .with_panel(
            _lines(
                "Age of leases when renewed",
                "The part of the ttl that was over, for 99 of 100; due at a third, lost at 0.9.",
                (f"histogram_quantile(0.99, sum by (le) (rate({ages}[$__rate_interval])))", "99 %"),
                most=1,
            )
        )
        .with_panel(
            _lines(
                "Time in line",
                "Half of the requests that waited did so for at most so long.",
                (f"histogram_quantile(0.5, sum by (le, outcome) (rate({waits}[$__rate_interval])))", "{{outcome}}"),
                unit="s",
            )
        )
    )


def _script_calls(board: Dashboard) -> Dashboard:
    """How calls become script calls, and how long those take; in the row of clients."""
    items, sent = (f"allocator_client_batch_items_{one}[$__rate_interval]" for one in ("sum", "count"))
    ran, took = (f"allocator_server_script_{one}_total{POOL}[$__rate_interval]" for one in ("calls", "seconds"))
    return (
        board.with_panel(
            _lines(
                "Items of a script call",
                "On average, of calls that may share one.",
                (f"sum by (script) (rate({items})) / sum by (script) (rate({sent}))", "{{script}}"),
            )
        )
        .with_panel(
            _lines(
                "Holds and connections",
                "In all observed clients.",
                ("sum(allocator_client_holds)", "holds"),
                ("sum by (state) (allocator_client_connections)", "connections {{state}}"),
            )
        )
        .with_panel(
            _lines(
                "Scripts on the server",
                "Mean time of one, by the server's own statistics.",
                (f"rate({took}) / rate({ran})", "{{pool}} {{command}}"),
                (f"allocator_server_statistics{POOL} == 0", "{{pool}} may not be read"),
                unit="s",
            )
        )
    )


def build() -> str:
    """The dashboard as JSON."""
    board = (
        Dashboard("Resource allocator")
        .uid("resource-allocator")
        .description("Pools of redis-resource-allocator, by the metrics of `resource-allocator metrics`.")
        .tags(["resource-allocator"])
        .refresh("30s")
        .time("now-6h", "now")
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("pool", "Pool", "label_values(allocator_pool_up, pool)"))
        .with_variable(
            _variable("resource", "Resource", 'label_values(allocator_resource_limit{pool=~"$pool"}, resource)')
        )
        .with_variable(_variable("scope", "Scope", 'label_values(allocator_quota_allocated{pool=~"$pool"}, scope)'))
    )
    for part in (_glance, _resources, _activity, _quotas, _health, _clients, _holders, _script_calls):
        board = part(board)
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def main() -> int:
    """Write the file, or with `--check` say whether it is what this says."""
    if sys.argv[1:] == ["--check"]:
        return int(FILE.read_text(encoding="utf-8") != build())
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(build(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
