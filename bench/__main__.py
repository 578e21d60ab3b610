"""`python -m bench`: measure, print one table, write `bench/results/latest.json`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final

from bench.rows import LeftOut, Row, by_name
from bench.stage import Sizes, Stage, load_average
from tests.support.servers import Engine, Server, binary

RESULTS: Final = Path(__file__).parent / "results" / "latest.json"

QUICK: Final = Sizes(
    rounds=5, calls=500, live=50_000, stored=20_000, awaited=1000, blocking=300, pairs=300, part=5, resting_s=30
)

ENGINES: Final = (Engine.REDIS7, Engine.VALKEY9)
"""The oldest and the newest server that are supported."""

Figure = dict[str, Any]


def measure(stage: Stage, engine: str, rows: Sequence[Row], sizes: Sizes) -> list[Figure]:
    """Run rows on one server."""
    figures: list[Figure] = []
    for row in rows:
        print(f"{engine}: {row.name} ...", file=sys.stderr, flush=True)
        try:
            result = row.run(stage, sizes)
        except LeftOut as why:
            print(f"{engine}: {row.name} is left out: {why}", file=sys.stderr)
            continue
        counts = not row.engines or engine in row.engines
        figures.append(
            {
                "row": row.name,
                "engine": engine,
                "server": stage.version,
                "figure": result.figure,
                "quartiles": [result.low, result.high],
                "medians": result.medians,
                "note": result.note,
                "at_least": row.at_least,
                "aim": row.aim,
                "verdict": row.verdict(result.figure) if counts else "",
            }
        )
    return figures


@contextlib.contextmanager
def stages(url: str | None) -> Generator[list[tuple[str, Stage]]]:
    """The servers to measure on: the given one, or one of each engine that is installed."""
    with contextlib.ExitStack() as stack:
        urls = {"given": url} if url else {}
        for engine in () if url else ENGINES:
            if binary(engine) is None:
                print(f"{engine} is not installed: left out", file=sys.stderr)
                continue
            urls[engine.value] = stack.enter_context(Server(engine, tcp=True)).tcp_url
        found: list[tuple[str, Stage]] = []
        for name, place in urls.items():
            stage = Stage(place)
            stack.callback(stage.close)
            found.append((name, stage))
        yield found


def machine() -> dict[str, Any]:
    """What the figures were taken on; ratios travel between machines, microseconds do not."""
    hiredis = importlib.metadata.version("hiredis") if importlib.util.find_spec("hiredis") else None
    return {
        "taken": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "redis-py": importlib.metadata.version("redis"),
        "hiredis": hiredis,
        "load": load_average(),
    }


def table(rows: Sequence[Row], figures: Sequence[Figure]) -> str:
    """The figures as Markdown: a line for each row, a column for each server."""
    engines = list(dict.fromkeys(figure["engine"] for figure in figures))
    servers = {figure["engine"]: figure["server"] for figure in figures}
    found = {(figure["row"], figure["engine"]): figure for figure in figures}
    lines = [
        ["row", "what", "at least", "aim", *[servers[engine] for engine in engines]],
        ["---"] * (4 + len(engines)),
    ]
    for row in [row for row in rows if any(name == row.name for name, _ in found)]:
        limit = "at most " if row.smaller_is_better else ""
        cells = [_cell(row, found.get((row.name, engine))) for engine in engines]
        lines.append([row.name, row.what, f"{limit}{row.at_least:g}{row.unit}", f"{row.aim:g}{row.unit}", *cells])
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def _cell(row: Row, figure: Figure | None) -> str:
    if figure is None:
        return "left out"
    low, high = figure["quartiles"]
    digits = 0 if figure["figure"] >= 10 else 2
    shown = f"{figure['figure']:.{digits}f}{row.unit}" if row.unit else f"{figure['figure']:.2f} ({low:.2f}-{high:.2f})"
    beside = f"({figure['note']})" if figure["note"] else ""
    return " ".join(part for part in (shown, beside, figure["verdict"]) if part)


def main(arguments: Sequence[str] | None = None, *, sizes: Sizes | None = None, results: Path = RESULTS) -> int:
    """Measure what is asked for; the figures decide nothing about the exit code."""
    rows = by_name()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller and shorter, less exact")
    parser.add_argument("--only", action="append", choices=list(rows), metavar="ROW", help=f"one of {', '.join(rows)}")
    parser.add_argument("--url", help="an empty server to measure on; it is flushed (default: servers of our own)")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    given = parser.parse_args(arguments)
    sizes = sizes or (QUICK if given.quick else Sizes())
    chosen = [rows[name] for name in rows if not given.only or name in given.only]
    figures: list[Figure] = []
    with stages(given.url) as found:
        for engine, stage in found:
            figures += measure(stage, engine, chosen, sizes)
    document = {**machine(), "quick": bool(given.quick), "sizes": dataclasses.asdict(sizes), "figures": figures}
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2) if given.output == "json" else table(chosen, figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
