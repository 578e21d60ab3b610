"""How each public value is drawn, for the tests that any of them passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from allocator import (
    Allocation,
    Audit,
    Check,
    Denial,
    DoctorCheck,
    DoctorReport,
    Event,
    FairShare,
    Finding,
    GangMember,
    Limit,
    Pool,
    Preemption,
    PreemptionPolicy,
    QueuePolicy,
    Quota,
    QuotaUsage,
    Reclaimed,
    Reconciled,
    Release,
    Renewal,
    Request,
    Resources,
    ResourceUnits,
    ResourceUsage,
    Shortage,
    Usage,
    UsageAmounts,
    UsageHistory,
    UsagePoint,
    Waiter,
    WaitingPriority,
)
from allocator.models.instants import instant
from allocator.settings import AMOUNT_MAX

__all__ = ["VALUES", "resource_names"]

amounts = st.one_of(st.integers(0, 2000), st.integers(0, AMOUNT_MAX))
instants = st.one_of(st.integers(0, 4_102_444_800_000), amounts)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
ids = st.one_of(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,30}", fullmatch=True), st.just(f"{'n' * 63}/{'o' * 253}/{'0' * 36}")
)
resource_names = st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "hugepages-2Mi", "pods", "storage", "A.b_c"])
resources = st.dictionaries(resource_names, amounts, max_size=5).map(Resources.of)
metadata = st.dictionaries(st.from_regex(r"[a-z][a-z0-9./-]{0,9}", fullmatch=True), texts, max_size=4)
levels = st.sampled_from(["memory", "fsynced", "replicated:2", "fsynced+replicated:1"])
id_lists = st.lists(ids, max_size=4).map(tuple)

shortages = st.builds(
    Shortage, resource_names, amounts, amounts, amounts, level=names, name=texts, kept=amounts, held=amounts,
    min_unit=amounts, max_unit=amounts, step=amounts,
)  # fmt: skip
denials = st.builds(Denial, names, names, st.lists(shortages, max_size=3).map(tuple), item=st.integers(0, 9999),
    position=st.none() | st.integers(1, 9999), start_ms=st.none() | instants,
)  # fmt: skip
rows = st.builds(ResourceUsage, amounts, amounts, amounts, amounts, st.integers(0, 15_000))
scopes = st.lists(names, min_size=1, max_size=4).map("/".join)
limits = st.none() | amounts
members = st.builds(GangMember, ids, names, resources, st.none() | amounts, st.none() | scopes, metadata, st.booleans())
quantities = st.none() | st.integers(0, 10**6) | st.sampled_from(["2", "500m", "4Gi", "1e3"])
shares = st.builds(FairShare, st.none() | amounts, amounts, amounts)
usage_amounts = st.builds(UsageAmounts, amounts, amounts)
datetimes = st.integers(0, 10**13).map(instant)
usage_points = st.builds(
    UsagePoint,
    datetimes,
    st.sampled_from((60, 3600)),
    st.dictionaries(resource_names, usage_amounts, max_size=4),
    amounts,
    amounts,
    amounts,
    amounts,
)
quota_rows = st.builds(QuotaUsage, amounts, amounts, st.integers(-AMOUNT_MAX, AMOUNT_MAX), limits, limits, limits)
units = st.builds(ResourceUnits, quantities, st.none() | st.integers(0, 15_000), quantities, quantities, quantities)
priorities = st.integers(-1000, 1000)
line_rows = st.builds(WaitingPriority, priorities, amounts, st.none() | instants)
some_seconds = st.none() | st.just(0.0) | st.integers(1000, 10**6).map(lambda ms: ms / 1000)
preemptions = st.builds(PreemptionPolicy, st.none() | st.booleans(), some_seconds, some_seconds)
policies = st.builds(
    QueuePolicy,
    st.none() | st.sampled_from(["contended", "strict", "best_effort"]),
    st.none() | st.integers(0, 10**6),
    st.none() | st.integers(1000, 10**10).map(lambda ms: ms / 1000),
    st.none() | st.integers(0, 10**5),
)
pools = st.builds(
    Pool,
    names,
    st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    amounts,
    amounts,
    amounts,
    instants,
    st.sampled_from(["active", "offline", "recovering", "deleting"]),
    resources,
    resources,
    whole_units=st.lists(resource_names, max_size=3, unique=True).map(tuple),
    created=st.booleans(),
    recovery_grace_ms=amounts,
    max_ttl_ms=amounts,
    durability=levels,
    recovering_until_ms=instants,
    recovering_why=texts,
    clock_offset_ms=amounts,
    kept=resources,
    default_scope=st.none() | scopes,
    require_scope=st.booleans(),
    max_lifetime_ms=amounts,
    units=st.dictionaries(resource_names, units, max_size=3),
    queue=policies,
    preemption=preemptions,
)
entries = st.dictionaries(
    st.one_of(st.sampled_from(["id", "owner", "fence", "reason", "cpu.allocated", "x.allocated", ".allocated"]), texts),
    st.one_of(texts, st.integers(0, AMOUNT_MAX * 3).map(str), st.sampled_from(["007", "", "\u0663", "9" * 5000])),
    max_size=6,
)
allocations = st.builds(
    Allocation,
    ids,
    names,
    ids,
    resources,
    amounts,
    instants,
    st.none() | amounts,
    st.none() | instants,
    metadata,
    created=st.booleans(),
    epoch=st.sampled_from(["", "0123456789abcdef"]),
    releasing_ms=st.none() | instants,
    durability=levels,
    scope=st.none() | scopes,
    ends_ms=st.none() | instants,
    priority=priorities,
    preempted_by=st.none() | ids,
)

VALUES: Mapping[type[Any], st.SearchStrategy[Any]] = {
    Allocation: allocations,
    Audit: st.builds(
        Audit,
        names,
        names,
        amounts,
        st.lists(st.builds(Finding, texts, texts, texts), max_size=3).map(tuple),
        amounts,
        st.lists(resource_names, max_size=3).map(tuple),
        amounts,
    ),
    Check: st.builds(Check, st.booleans(), st.none() | denials, st.none() | instants, id_lists),
    Denial: denials,
    DoctorCheck: st.builds(DoctorCheck, texts, texts, texts, texts),
    DoctorReport: st.builds(DoctorReport, st.lists(st.builds(DoctorCheck, texts, texts, texts), max_size=3).map(tuple)),
    Event: st.builds(Event, st.builds("{}-{}".format, instants, st.integers(0, 9)) | texts, texts, entries),
    Finding: st.builds(Finding, texts, texts, texts),
    Limit: st.builds(Limit, quantities, quantities, quantities),
    Pool: pools,
    Quota: st.builds(
        Quota,
        scopes,
        names,
        amounts,
        st.dictionaries(resource_names, quota_rows, max_size=4),
        st.dictionaries(st.just("") | scopes, resources, max_size=2),
        st.none() | shares,
    ),
    QueuePolicy: policies,
    Preemption: st.builds(Preemption, ids, instants),
    PreemptionPolicy: preemptions,
    FairShare: shares,
    QuotaUsage: quota_rows,
    Reclaimed: st.builds(Reclaimed, amounts, id_lists, st.booleans()),
    Reconciled: st.builds(Reconciled, id_lists, id_lists, id_lists, st.booleans(), st.booleans()),
    Release: st.builds(Release, ids, names, st.none() | instants),
    Renewal: st.builds(
        Renewal,
        ids,
        names,
        amounts,
        st.none() | instants,
        levels,
        st.none() | instants,
        st.none() | amounts,
        st.none() | ids,
    ),
    Request: st.builds(
        Request,
        resources.map(lambda one: Resources.request(Resources.of({**one, "cpu": 1}))),  # zeros are dropped
        st.none() | st.integers(1000, 10**9).map(lambda ms: ms / 1000),
        st.none() | ids,
        st.none() | ids,
        st.none() | metadata.filter(lambda one: not any(key.endswith(("allocated", "capacity")) for key in one)),
        st.booleans(),
        st.none() | scopes,
        st.none() | st.integers(1000, 10**11).map(lambda ms: ms / 1000),
        priorities,
        st.booleans(),
    ),
    ResourceUnits: units,
    ResourceUsage: rows,
    Resources: resources,
    Shortage: shortages,
    Usage: st.builds(
        Usage,
        pools,
        st.dictionaries(resource_names, rows, max_size=4),
        amounts,
        amounts,
        amounts,
        instants,
        amounts,
        st.none() | instants,
        st.none() | instants,
        amounts,
        st.lists(line_rows, max_size=3).map(tuple),
        st.dictionaries(names, amounts, max_size=3),
    ),
    UsageAmounts: usage_amounts,
    UsageHistory: st.builds(UsageHistory, names, st.lists(usage_points, max_size=3).map(tuple), datetimes),
    UsagePoint: usage_points,
    GangMember: members,
    WaitingPriority: line_rows,
    Waiter: st.builds(
        Waiter,
        ids,
        names,
        amounts,
        ids,
        priorities,
        resources,
        instants,
        st.none() | instants,
        st.none() | amounts,
        st.none() | scopes,
        st.none() | denials,
        st.none() | instants,
        metadata,
        st.none() | scopes,
        st.lists(members, max_size=3).map(tuple),
    ),
}
