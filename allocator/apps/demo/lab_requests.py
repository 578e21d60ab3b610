"""The labs' requests: a CSV with the columns `name`, `seconds`, an optional `arrives`, and one per resource.

`name` is unique and becomes the allocation id `lab/<name>`.  `seconds` is how long the lab runs.  `arrives` is when it
is requested, in seconds after the first (0 without the column).  Every other column is a resource with Kubernetes
quantities: `cpu`, `memory`, `nvidia.com/gpu`; an empty cell requests none of it.

All errors of a file are reported at once, with line numbers, before anything is started.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from allocator import InvalidRequest, Resources

__all__ = ["BadRequestsError", "LabRequest", "default_capacity", "default_file", "natural_speed", "read_requests"]

LABS_MAX: Final = 100_000
"""Labs of one file, which the replicas keep in memory."""

SECONDS_MAX: Final = 10 * 366 * 86_400.0
"""Seconds of the longest lab and the latest arrival: ten years of a trace."""

PROBLEMS_MAX: Final = 10
"""Errors of a file that are listed."""

TARGET_S: Final = 26.0
"""Seconds that a run takes by default: long enough to watch, short enough to wait for."""

DEFAULT_CAPACITY: Final = {"cpu": "32", "memory": "128Gi"}
"""The pool of the original `ResourceAllocator()`."""

SHARE_OF_OTHERS: Final = 10
"""The default pool has a tenth of the requested total of any further resource."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,119}", re.ASCII)
_OWN_COLUMNS: Final = ("name", "seconds", "arrives")


class BadRequestsError(ValueError):
    """The file is not a list of lab requests; the message has each wrong line and its error."""


@dataclass(frozen=True, slots=True)
class LabRequest:
    """One lab: its resources, duration and arrival, in seconds of the file's time."""

    name: str
    resources: Resources
    seconds: float
    arrives: float = 0.0


def default_file() -> Path:
    """The path of `examples/lab_requests.csv`: beside this file in a wheel, else in the source tree."""
    packaged = Path(__file__).with_name("lab_requests.csv")
    return packaged if packaged.exists() else Path(__file__).parents[3] / "examples" / "lab_requests.csv"


def read_requests(path: Path) -> list[LabRequest]:
    """Read a file of lab requests.

    Raises:
        BadRequestsError: It cannot be read, or lines of it are wrong.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            columns = _columns(path, next(reader, list[str]()))
            return _rows(path, ((reader.line_num, cells) for cells in reader), columns)
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequestsError(f"{path}: {error}") from error
    except csv.Error as error:
        raise BadRequestsError(f"{path}: not a CSV file: {error}") from error


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    columns = [cell.strip() for cell in header]
    for needed in ("name", "seconds"):
        if needed not in columns:
            raise BadRequestsError(f"{path}, line 1: there is no column {needed!r} in {','.join(columns)[:200]!r}")
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise BadRequestsError(f"{path}, line 1: column {twice[0]!r} stands there twice")
    resources = [column for column in columns if column not in _OWN_COLUMNS]
    if not resources:
        raise BadRequestsError(f"{path}, line 1: there is no column for a resource, such as 'cpu' or 'memory'")
    try:
        Resources.capacity(dict.fromkeys(resources, 0))
    except InvalidRequest as error:
        raise BadRequestsError(f"{path}, line 1: {error}") from error
    return columns


def _rows(path: Path, rows: Iterable[tuple[int, Sequence[str]]], columns: Sequence[str]) -> list[LabRequest]:
    labs: list[LabRequest] = []
    lines: dict[str, int] = {}
    problems: list[str] = []
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        try:
            lab = _lab(columns, cells, lines)
            lines[lab.name] = line
            labs.append(lab)
        except (BadRequestsError, InvalidRequest) as error:
            problems.append(f"{path}, line {line}: {error}")
        if len(labs) > LABS_MAX:
            raise BadRequestsError(f"{path}: more than {LABS_MAX} labs")
    if len(problems) > PROBLEMS_MAX:
        problems[PROBLEMS_MAX:] = [f"... and {len(problems) - PROBLEMS_MAX} more"]
    if problems:
        raise BadRequestsError("\n".join(problems))
    if not labs:
        raise BadRequestsError(f"{path}: there is no lab in it")
    return labs


def _lab(columns: Sequence[str], cells: Sequence[str], lines: Mapping[str, int]) -> LabRequest:
    if len(cells) != len(columns):
        raise BadRequestsError(f"{len(cells)} cells where the header has {len(columns)} columns")
    row = {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}
    name = row.pop("name")
    if not _NAME.fullmatch(name):
        raise BadRequestsError(
            f"name: {name[:40]!r} is not allowed: write a letter or digit, then also any of . _ / : -, 120 in all"
        )
    if name in lines:
        raise BadRequestsError(f"name: {name!r} stands in line {lines[name]} already")
    seconds = _seconds("seconds", row.pop("seconds"))
    arrives = _seconds("arrives", row.pop("arrives", "") or "0")
    return LabRequest(name, Resources.request({column: cell for column, cell in row.items() if cell}), seconds, arrives)


def _seconds(column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= SECONDS_MAX:  # NaN is neither
        raise BadRequestsError(f"{column}: {text[:40]!r} is not a number of seconds from 0 to {SECONDS_MAX:.0f}")
    return value


def default_capacity(labs: Sequence[LabRequest]) -> Resources:
    """The default pool for labs: 32 cores and 128 GiB; of any other resource, a tenth of all requests.

    But never less of those others than the largest single request, and in whole units.
    """
    amounts = dict(Resources.capacity(DEFAULT_CAPACITY))
    others = {name for lab in labs for name in lab.resources} - amounts.keys()
    for name in others:
        asked = [lab.resources.get(name, 0) for lab in labs]
        amounts[name] = math.ceil(max(sum(asked) / SHARE_OF_OTHERS, *asked) / 1000) * 1000
    return Resources.of(amounts)


def natural_speed(labs: Sequence[LabRequest], capacity: Mapping[str, int]) -> float:
    """The speed at which the labs take about `TARGET_S` seconds if the scarcest resource is never idle.

    Labs that can never fit are not counted.
    """
    feasible = [lab for lab in labs if all(amount <= capacity.get(name, 0) for name, amount in lab.resources.items())]
    busy = [
        sum(lab.resources.get(name, 0) * lab.seconds for lab in feasible) / amount
        for name, amount in capacity.items()
        if amount
    ]
    latest = max((lab.arrives + lab.seconds for lab in feasible), default=0.0)
    return max(1.0, latest, *busy) / TARGET_S
