"""The results of reclaim, reconcile, audit and doctor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """The result of one `reclaim`.  `more`: it stopped at its limit with expired allocations left."""

    count: int
    ids: tuple[str, ...] = ()
    more: bool = False

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation of an invariant: its kind, the allocation or resource, and the numbers."""

    kind: str
    subject: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of an audit; truthy when clean.

    `status` is `clean`, `drift`, `repaired` or `inconclusive` (the pool changed each time it was read in pages, so
    there is no result).  `findings` lists at most 100 of `total` violations; `overcommitted` is not a violation.
    """

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
class Reconciled:
    """The result of a `reconcile`, as ids.

    `released` were released (or would be, with `dry_run`).  `kept` were found and are among the live ids.  `missing`
    are live ids without an allocation: allocate them, or adopt them while the pool recovers.  `more`: the call's time
    was over before it was done.
    """

    released: tuple[str, ...]
    kept: tuple[str, ...]
    missing: tuple[str, ...]
    dry_run: bool = False
    more: bool = False

    def __bool__(self) -> bool:
        return bool(self.released)


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One finding of `doctor`: `verdict` is `ok`, `warn`, `bad` or `unknown`; `advice` is what to change."""

    name: str
    verdict: str
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """The findings of `doctor`; truthy if none is bad."""

    checks: tuple[DoctorCheck, ...]

    def __bool__(self) -> bool:
        return all(one.verdict != "bad" for one in self.checks)
