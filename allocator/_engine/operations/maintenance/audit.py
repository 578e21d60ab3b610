"""audit and repair: in one script call up to a limit; above it in pages, valid if the pool's revision is unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from allocator import settings
from allocator._engine.operations import pools
from allocator._engine.operations.defaults import Defaults
from allocator._engine.operations.maintenance import audit_findings
from allocator._engine.operations.replies import decode_fields, raise_refused
from allocator._engine.operations.requests import encode_amounts, make_call, new_call
from allocator._engine.protocol import schema
from allocator._engine.protocol.flows import Call, Flow, Item, Reply, Scan
from allocator._engine.protocol.keys import PoolKeys, parse
from allocator._engine.protocol.scripts import load
from allocator.errors import InvalidRequest
from allocator.models.maintenance import Audit, Finding

_AUDIT: Final = load("audit")
_ORPHANS: Final = load("find_orphans")
_REPAIR: Final = load("repair")

_INDEXES: Final = ("deadlines", "pinned", "priorities")


@dataclass(slots=True)
class _Survey:
    """Sums and findings, of one script call or added up over pages."""

    revision: int = 0
    records: int = 0
    total: int = 0
    sums: dict[str, int] = field(default_factory=dict[str, int])
    account: dict[str, str] = field(default_factory=dict[str, str])
    findings: list[Finding] = field(default_factory=list[Finding])
    ids: set[str] = field(default_factory=set[str])
    steady: bool = True

    def add(self, reply: Reply) -> str:
        """Add one reply.  Returns the cursor."""
        cursor: str
        _, revision, cursor, records, total, sums, account, ids, findings = reply
        if (self.account and revision != self.revision) or not self.ids.isdisjoint(ids):
            self.steady = False
        self.revision, self.account = revision, decode_fields(account)
        self.records += records
        self.total += total
        for name, amount in decode_fields(sums).items():
            self.sums[name] = self.sums.get(name, 0) + int(amount)
        self.ids.update(ids)
        self.findings += findings_of(findings)
        return cursor

    def part(self, suffix: str) -> Mapping[str, str]:
        return {name[: -len(suffix)]: value for name, value in self.account.items() if name.endswith(suffix)}


def findings_of(flat: Sequence[Any]) -> list[Finding]:
    """(kind, subject, detail)* as models."""
    return [audit_findings.readable(*flat[at : at + 3]) for at in range(0, len(flat), 3)]


def audit(defaults: Defaults, *, repair: bool = False, offline: bool = False) -> Flow[Audit]:
    """Check every invariant of the pool, and with `repair` correct what is found; see `_repair`."""
    if offline and not repair:
        raise InvalidRequest("offline is a way to repair: give repair=True too", field="offline")
    return _repair(defaults.pool, offline=offline) if repair else _audit(defaults.pool)


def _audit(pool: PoolKeys) -> Flow[Audit]:
    """Check every invariant of the pool.  It changes nothing."""
    survey = yield from _survey(pool)
    orphans = yield from _orphans(pool)
    return _verdict(pool, survey, orphans)


def _repair(pool: PoolKeys, *, offline: bool) -> Flow[Audit]:
    """Repair what an audit finds.  More records than one script takes need `offline`: no grants meanwhile.

    Returns:
        `clean` if nothing was wrong; `repaired`, with what was repaired, if nothing is wrong any more; else what the
        audit still finds, such as a capacity that is not an amount, which only the pool's owner can set.
    """
    before = yield from _audit(pool)
    if before.status == "clean":
        if offline:
            # An earlier repair may have been killed while the pool was offline.
            yield from pools.set_state(pool, "online")
        return before
    mended = yield from _repair_whole(pool, before)
    if mended is None:
        if not offline:
            raise InvalidRequest(
                f"pool {pool.name!r} has too many allocations to be repaired in one call: repair it offline "
                "(no grants meanwhile)",
                field="offline",
            )
        mended = yield from _repair_offline(pool, before)
    if mended.status != "repaired":
        return mended
    after = yield from _audit(pool)
    return mended if after.status == "clean" else after


def _repair_whole(pool: PoolKeys, before: Audit) -> Flow[Audit | None]:
    """Repair in one script call; None if there are too many records."""
    if before.records > settings.AUDIT_RECORDS_MAX:
        return None
    orphans = [finding.subject for finding in before.findings if finding.kind == "orphan_record"]
    found: list[Finding] = []
    for _ in range(settings.REPAIR_CALLS_MAX):
        reply: Reply = yield from _mend(pool, "all", "0", orphans)
        if reply[0] != "repaired":
            return None
        found += findings_of(reply[3:])
        if reply[2] <= settings.MENDS_MAX:
            break
    return Audit(
        pool.name, "repaired", before.records, tuple(found or before.findings)[: settings.FINDINGS_MAX],
        before.total, before.overcommitted, before.revision,
    )  # fmt: skip


def _repair_offline(pool: PoolKeys, before: Audit) -> Flow[Audit]:
    yield from pools.set_state(pool, "offline")
    try:
        after = yield from _repair_in_pages(pool, before)
    except Exception:
        yield from pools.set_state(pool, "online")
        raise
    yield from pools.set_state(pool, "online")
    return after


def _repair_in_pages(pool: PoolKeys, before: Audit) -> Flow[Audit]:
    orphans = yield from _orphans(pool)
    findings: list[Finding] = []
    for index in _INDEXES:
        cursor, first = "0", True
        while first or cursor != "0":
            reply: Reply = yield from _mend(pool, index, cursor, orphans if first and index == _INDEXES[0] else ())
            cursor, first = str(reply[1]), False
            findings += findings_of(reply[3:])
    for _ in range(settings.AUDIT_ATTEMPTS_MAX):
        survey = yield from _survey(pool)
        if not survey.steady:
            break
        reply = yield from _mend(pool, "totals", "0", (), survey)
        if reply[0] == "repaired":
            findings += findings_of(reply[3:])
            return Audit(
                pool.name, "repaired", survey.records, tuple(findings[: settings.FINDINGS_MAX]), len(findings),
                before.overcommitted, survey.revision,
            )  # fmt: skip
    return Audit(pool.name, "inconclusive", before.records, before.findings, before.total, before.overcommitted)


def adopt_orphans(pool: PoolKeys) -> Flow[None]:
    """Add records without an index entry to their index, and remove those that cannot be read."""
    orphans = yield from _orphans(pool)
    for at in range(0, len(orphans), settings.FINDINGS_MAX):
        yield from _mend(pool, "pinned", "0", orphans[at : at + settings.FINDINGS_MAX])


def _mend(pool: PoolKeys, mode: str, cursor: str, orphans: Sequence[str], survey: _Survey | None = None) -> Flow[Reply]:
    revision, sums = (survey.revision, survey.sums) if survey else (0, {})
    item = Item(new_call(), (mode, cursor, revision, *encode_amounts(sums)))
    keys = (*_REPAIR.bind_keys(pool), *(pool.record(one) for one in orphans[: settings.FINDINGS_MAX]))
    replies: Reply = yield Call(_REPAIR, pool, keys, _REPAIR.bind(epoch=pool.epoch, actor=pool.actor), (item,))
    if replies[0][0] not in ("repaired", "moved", "large"):
        raise_refused(pool, replies[0][0])
    reply: Reply = replies[0]
    return reply


def _survey(pool: PoolKeys) -> Flow[_Survey]:
    """Read the pool in one script call, or in pages until its revision is the same through all of them."""
    survey = _Survey()
    reply: Reply = yield from _read(pool, "all", "0")
    if reply[0] == "audit":
        survey.add(reply)
        return survey
    for _ in range(settings.AUDIT_ATTEMPTS_MAX):
        survey = _Survey()
        for index in _INDEXES:
            cursor = ""
            while survey.steady and cursor != "0":
                cursor = survey.add((yield from _read(pool, index, cursor or "0")))
        if survey.steady:
            break
    return survey


def _read(pool: PoolKeys, index: str, cursor: str) -> Flow[Reply]:
    count = settings.PAGE_RECORDS_MAX
    reply: Reply = yield make_call(_AUDIT, pool, epoch=pool.epoch, index=index, cursor=cursor, count=count)
    if reply[0] not in ("audit", "large"):
        raise_refused(pool, reply[0])
    return reply


def _orphans(pool: PoolKeys) -> Flow[list[str]]:
    """Records without an index entry: found by SCAN, which is not a snapshot, and confirmed by atomic scripts."""
    keys: list[str] = yield Scan(pool.records_pattern, settings.SCAN_KEYS_MAX)
    found: list[str] = []
    for at in range(0, len(keys), settings.PAGE_RECORDS_MAX):
        part = [key for key in keys[at : at + settings.PAGE_RECORDS_MAX] if parse(key, pool.prefix)]
        reply: Reply = yield find_orphans(pool, part)
        if reply[0] != "orphans":
            raise_refused(pool, reply[0])
        found += reply[1:]
    return found


def find_orphans(pool: PoolKeys, records: Sequence[str]) -> Call:
    """The call that says which of these records have no index entry."""
    return Call(
        _ORPHANS, pool, (*_ORPHANS.bind_keys(pool), *records), _ORPHANS.bind(epoch=pool.epoch, actor=pool.actor)
    )


def _verdict(pool: PoolKeys, survey: _Survey, orphans: Sequence[str]) -> Audit:
    counters, capacities = survey.part(schema.ALLOCATED), survey.part(schema.CAPACITY)
    over = audit_findings.overcommitted(counters, capacities)
    if not survey.steady:
        return Audit(pool.name, "inconclusive", survey.records, (), 0, over, survey.revision)
    drift = audit_findings.drift(counters, capacities, survey.sums)
    drift += audit_findings.limits(survey.account, capacities, survey.part(schema.TOTAL))
    lost = [Finding("orphan_record", identity, "in no index") for identity in orphans]
    broken = audit_findings.broken_fields(survey.account)
    findings = [*broken, *drift, *lost, *survey.findings][: settings.FINDINGS_MAX]
    total = len(broken) + len(drift) + len(lost) + survey.total
    status = "drift" if total else "clean"
    return Audit(pool.name, status, survey.records, tuple(findings), total, over, survey.revision)
