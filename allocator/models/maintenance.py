"""The results of reclaim, reconcile, audit and doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from allocator.serialization import INTEGER, TEXT, TEXTS, TRUTH, Value, checked, derived, field, many, value
from allocator.validation import allocation_id, pool_name

_IDS = many(checked(allocation_id))


@dataclass(frozen=True, slots=True)
class Reclaimed(Value):
    """The result of one `reclaim`.  `more`: it stopped at its limit with expired allocations left.

    The command `cleanup` prints it, with at most a hundred of the ids.
    """

    KIND: ClassVar = "Cleanup"
    FORMAT: ClassVar = (
        field("count", "count", INTEGER),
        field("more", "more", TRUTH),
        field("ids", "ids", _IDS),
    )

    count: int
    ids: tuple[str, ...] = ()
    more: bool = False

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, slots=True)
class Finding(Value):
    """One violation of an invariant: its kind, the allocation or resource, and the numbers."""

    FORMAT: ClassVar = (
        field("kind", "kind", TEXT),
        field("subject", "subject", TEXT),
        field("detail", "detail", TEXT),
    )

    kind: str
    subject: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Audit(Value):
    """The result of an audit; truthy when clean.

    `status` is `clean`, `drift`, `repaired` or `inconclusive` (the pool changed each time it was read in pages, so
    there is no result).  `findings` lists at most 100 of `total` violations; `overcommitted` is not a violation.
    """

    KIND: ClassVar = "Audit"
    FORMAT: ClassVar = (
        field("pool", "pool", checked(pool_name)),
        field("status", "status", TEXT),
        field("records", "records", INTEGER),
        field("total", "total", INTEGER),
        field("findings", "findings", many(value(Finding))),
        field("overcommitted", "overcommitted", TEXTS),
        field("revision", "revision", INTEGER),
    )

    pool: str
    status: str
    records: int
    findings: tuple[Finding, ...] = ()
    total: int = 0
    overcommitted: tuple[str, ...] = ()
    revision: int = 0

    def __bool__(self) -> bool:
        return self.status == "clean"


@dataclass(frozen=True, slots=True)
class Reconciled(Value):
    """The result of a `reconcile`, as ids.

    `released` were released (or would be, with `dry_run`).  `kept` were found and are among the live ids.  `missing`
    are live ids without an allocation: allocate them, or adopt them while the pool recovers.  `more`: the call's time
    was over before it was done.

    The command `reconcile` prints of it what a person wants to know, and not all of the ids.
    """

    KIND: ClassVar = "Reconciled"
    FORMAT: ClassVar = (
        field("dry_run", "dryRun", TRUTH),
        field("more", "more", TRUTH),
        derived("count", lambda done: len(done.released)),
        derived("kept", lambda done: len(done.kept)),
        field("released", "released", _IDS),
        field("kept", "keptIds", _IDS),
        field("missing", "missing", _IDS),
    )

    released: tuple[str, ...]
    kept: tuple[str, ...]
    missing: tuple[str, ...]
    dry_run: bool = False
    more: bool = False

    def __bool__(self) -> bool:
        return bool(self.released)


@dataclass(frozen=True, slots=True)
class DoctorCheck(Value):
    """One finding of `doctor`: `verdict` is `ok`, `warn`, `bad` or `unknown`; `advice` is what to change."""

    FORMAT: ClassVar = (
        field("name", "check", TEXT),
        field("verdict", "verdict", TEXT),
        field("detail", "detail", TEXT),
        field("advice", "advice", TEXT),
    )

    name: str
    verdict: str
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class DoctorReport(Value):
    """The findings of `doctor`; truthy if none is bad."""

    KIND: ClassVar = "DoctorReport"
    FORMAT: ClassVar = (
        derived("fit", bool),
        field("checks", "items", many(value(DoctorCheck))),
    )

    checks: tuple[DoctorCheck, ...]

    def __bool__(self) -> bool:
        return all(one.verdict != "bad" for one in self.checks)
