"""What reclaim, reconcile, audit and doctor found or did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What one `reclaim` took back.  `more` says that it stopped at its limit with work left."""

    count: int
    ids: tuple[str, ...] = ()
    more: bool = False

    def __bool__(self) -> bool:
        return self.count > 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation of an invariant: what kind, of which allocation or resource, and the numbers."""

    kind: str
    subject: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """The verdict on a pool; truthy when clean.

    `status` is `clean`, `drift`, `repaired` or `inconclusive` (the pool would not stand still long enough to be read in
    pages; nothing is claimed).  `findings` lists at most 100 of `total` violations; `overcommitted` is no violation.
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
    """What a `reconcile` did: ids each.

    `released` was given back (or would be, with `dry_run`); `kept` was found and is live by the caller's word;
    `missing` is live by the caller's word and not on the ledger: allocate it, or adopt it while the pool
    recovers.  `more` says that the call's time was over before it was done.
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
    """One finding of a `doctor`: `verdict` is `ok`, `warn`, `bad` or `unknown`; `advice` says what to change."""

    name: str
    verdict: str
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What a `doctor` found; truthy when nothing is bad."""

    checks: tuple[DoctorCheck, ...]

    def __bool__(self) -> bool:
        return all(one.verdict != "bad" for one in self.checks)
