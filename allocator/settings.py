"""Every bound, default and environment variable, with its unit and its reason.

Those that the scripts share are named in `allocator._engine.protocol.schema`.
"""

from __future__ import annotations

import os
from typing import Final

# -- numbers -----------------------------------------------------------------------------------------------------------
AMOUNT_MAX: Final = 2**53 - 1
"""Largest exact integer of a Lua number (a double): the ceiling of every counter; 8 PiB where the unit is the byte."""

QUANTITY_LENGTH_MAX: Final = 32
"""Characters of a quantity's text.  Longer ones are refused before any arithmetic: `1e200000` must not cost a
second."""

MEMORY_MIN: Final = 2**20
"""Bytes.  A smaller memory request is nearly always a forgotten suffix (`512` for `512Mi`)."""

# -- names -------------------------------------------------------------------------------------------------------------
NAME_LENGTH_MAX: Final = 64
"""Characters of a pool's, node's or label's name."""

ID_LENGTH_MAX: Final = 128
"""Characters of an allocation id or an owner: room for `namespace/name/uid`."""

PREFIX_LENGTH_MAX: Final = 32
"""Characters of the key prefix, which every key repeats."""

REASON_LENGTH_MAX: Final = 200
"""Characters of the reason that somebody gives, which goes to the events."""

PREFIX_DEFAULT: Final = "allocator"

OWNER_DEFAULT: Final = "anonymous"
"""The owner of a call that names none.  The same on every replica, so that any of them may repeat the call."""

# -- requests ----------------------------------------------------------------------------------------------------------
RESOURCES_MAX: Final = 32
"""Resources of one request or pool."""

METADATA_ENTRIES_MAX: Final = 16
METADATA_BYTES_MAX: Final = 4096
"""Of all keys and values together, in UTF-8.  Redis stalls on megabytes; people read kilobytes."""

TTL_MIN_S: Final = 1.0
"""Seconds.  Shorter leases cannot be renewed reliably over a network."""

TTL_MAX_S: Final = 30 * 86_400.0
"""Seconds: 30 days.  What should live longer is renewed, or pinned with `ttl=None`."""

AGE_MAX_S: Final = 10 * 366 * 86_400.0
"""Seconds: ten years, the largest age that `maintenance.reclaim(older_than=)` and the filters take."""

# -- script calls ------------------------------------------------------------------------------------------------------
BATCH_ITEMS_MAX: Final = 100
"""Items of one script call: about a millisecond of the server's time."""

BATCH_BYTES_MAX: Final = 65_536
"""Bytes of arguments of one script call."""

MANY_ITEMS_MAX: Final = 10_000
"""Items of one call of `*_many`; it is sent in as many batches as it takes."""

BATCH_IN_FLIGHT: Final = 2
"""Script calls of one queue under way at a time: one that the server works on, one that the event loop works on."""

BATCH_SPLIT_FROM: Final = 16
"""Waiting items from which they are shared among the calls that may be under way; fewer are not worth a second one."""

OPTIONS_MAX: Final = 16
"""Options of one request beyond its resources and metadata."""

FIELDS_MAX: Final = 7_000
"""Fields of a pool that one script call reads: a Lua call takes 8,000 values."""

BATCH_LATE_S: Final = 0.05
"""Seconds after its deadline that a caller is answered whose items share a script call with more patient ones: an
attempt that ends at that very instant knows more, also on a loop that is busy."""

RECLAIM_INLINE_MAX: Final = 64
"""Due records that one `allocate` or growing `resize` takes back itself (about 1.5 us each)."""

RECLAIM_BATCH_MAX: Final = 200
"""Records that one `reclaim` takes back: under a millisecond of the server's time."""

CHECK_DUE_MAX: Final = 256
"""Due records that `check` counts as free before it says `more`."""

EXPLAIN_DEADLINES_MAX: Final = 256
"""Deadlines ahead that `check(explain=True)` looks at."""

PAGE_RECORDS_MAX: Final = 500
"""Records of one page: about 11 ms of the server's time."""

AUDIT_RECORDS_MAX: Final = 10_000
"""Records that one script audits whole at the most, whatever they have; more are read in pages."""

AUDIT_FIELDS_MAX: Final = 16_000
"""Fields that one script audits whole, `RECORD_FIELDS` and its resources of each record: under 25 ms of the server's
time.  That is 1,600 records of two resources; more are read in pages."""

RECORD_FIELDS: Final = 8
"""Fields of a record beside its resources, about."""

MENDS_MAX: Final = 1_000
"""Mends of one `repair` call; what is left is mended by the next."""

REPAIR_CALLS_MAX: Final = 20
"""Calls of a repair that mends a pool whole: more than its records can want."""

AUDIT_ATTEMPTS_MAX: Final = 5
"""Times a paged audit starts anew because the pool moved, before it reports itself inconclusive."""

OFFLINE_MS: Final = 120_000
"""Milliseconds that a repair may hold back new grants: twice the longest call, so that one that died frees the pool."""

FINDINGS_MAX: Final = 100
"""Findings that an audit lists one by one; it counts them all."""

POOLS_MAX: Final = 10_000
"""Pools that `pools.list()` lists."""

SCAN_COUNT: Final = 1_000
"""The COUNT hint of a SCAN."""

SCAN_KEYS_MAX: Final = 10_000_000
"""Keys that one SCAN walks at most, on a server that is shared with other data."""

EVENTS_MAX: Final = 10_000
"""Entries that a pool's stream of events keeps, about."""

# -- repeating ---------------------------------------------------------------------------------------------------------
DEADLINE_S: Final = 10.0
"""Seconds that one call may take in all, retries included, unless the client is told otherwise."""

DEADLINE_MAX_S: Final = 60.0
"""Seconds: the longest total deadline.  `ENDED_KEEP_MS` is twice that, so no copy of a call outlives its tombstone."""

ATTEMPT_TIMEOUT_S: Final = 2.0
"""Seconds that one attempt may wait for the server."""

WAIT_MIN_S: Final = 0.001
"""Seconds that an attempt waits for its reply at least, having been sent."""

REDIRECTS_MAX: Final = 5
"""Redirections of a cluster that one call follows at once; further ones wait like any other failure."""

SENTINEL_REFRESH_S: Final = 1.0
"""Seconds after which the Sentinels are asked again who the primary is, while calls are made: one more round trip."""

SENTINEL_BELIEF_S: Final = 2.0
"""Seconds for which a primary may be relied on after a Sentinel last named it.  What is granted or renewed by it later
is believed for a shorter time by just that: by then the Sentinels may have named another, which goes by its own grace.
Twice `SENTINEL_REFRESH_S`, so that a Sentinel has a second to answer before anybody believes less."""

SENTINEL_TIMEOUT_S: Final = 0.5
"""Seconds that a call which only looks again waits for a Sentinel's answer; what comes later counts when it comes."""

SENTINEL_PATIENCE_S: Final = 2.0
"""Seconds after which a Sentinel's answer is waited for no longer, by nobody, and the Sentinel may be asked anew: what
it could still say is as old as `SENTINEL_BELIEF_S`."""

CONNECTIONS_MAX: Final = 100
"""Connections that one client object opens to one server; a call beyond them waits for one, within its deadline."""

BACKOFF_BASE_S: Final = 0.02
BACKOFF_CAP_S: Final = 1.0
"""Seconds between attempts: doubled from the base up to the cap, each with full jitter between a half and the whole."""

ENDED_KEEP_MS: Final = int(2 * DEADLINE_MAX_S * 1000)
"""Milliseconds that the id of an ended call is remembered."""

ENDED_MAX: Final = 200_000
"""Ended calls remembered per pool; about 25 MB."""

TRIM_EVERY: Final = 32
"""Revisions of a pool after which old ended calls are looked for: looking on every change would cost two commands."""

ENDED_TRIM: Final = 8
"""Old ended calls that are forgotten for each of those revisions, and for each that the script adds: more than one
change can add."""

ENDED_TRIM_MAX: Final = 2_000
"""Old ended calls that one script forgets: under a millisecond, and more than a batch of 100 can add."""

CALLS_MAX: Final = 3
"""Call ids that a record keeps, one of each caller that was told of it: 64 bytes of ids keep it compact."""

UNDO_QUEUE_MAX: Final = 10_000
"""Calls whose withdrawal waits for the store to come back; the oldest is dropped first, with a log line."""

UNDO_FOR_S: Final = 300.0
"""Seconds that a withdrawal is tried for."""

CLOSE_FLUSH_S: Final = 2.0
"""Seconds that `close()` spends on withdrawals still queued."""

# -- recovery and the clock --------------------------------------------------------------------------------------------
RECOVERY_FENCES: Final = 1_000_000
"""How far the fences of a pool jump when its store has lost data: further than grants can have been lost."""

FENCE_AHEAD_MAX: Final = 2**40
"""How far a fence that a caller brings may be ahead of the pool's revision, or of its clock in microseconds: no store
can have lost 10^12 changes, and a larger fence would use up the numbers that fences are made of."""

RECOVERY_GRACE_MAX_S: Final = 3_600.0
"""Seconds: the longest recovery grace.  Nothing is granted for so long after each restart and failover."""

RECOVERY_MARGIN_S: Final = 5.0
"""Seconds by which the longest ttl of a pool with a recovery grace is shorter than it, unless the pool is told
otherwise: what a holder may believe beyond the replacement of its primary, `SENTINEL_BELIEF_S`; the two seconds in
which a Sentinel that has not heard of it yet may go on naming the old one; and one for clocks that differ."""

CLOCK_STEP_MS: Final = 1_000
"""Milliseconds by which the server's clock may go back before the pool's time parts with it; it stands still for less.
Also how close to its deadline a lease must have been for nobody to wonder that it is gone."""

CLOCK_JUMP_MS: Final = 60_000
"""Milliseconds without a sign of the pool after which the clock may have been set forward in between."""

CLOCK_SEEN_MS: Final = 1_000
"""Milliseconds after which a renewal notes the time in the pool, though it changes nothing else there."""

RECONCILE_IDS_MAX: Final = 100_000
"""Ids that one `reconcile` takes: it holds them, and what the ledger has, in memory."""

DURABLE_REPLICAS_MAX: Final = 16
"""Replicas that a call may wait for."""

# -- holding -----------------------------------------------------------------------------------------------------------
HOLD_INTERVAL: Final = 1 / 3
"""Of the time to live: how long a lease that is held goes without a renewal.  Two may fail before it lapses."""

HOLD_JITTER: Final = 0.1
"""Of the interval: how much earlier a renewal may come, by chance, so that holders who began together drift apart."""

HOLD_MARGIN: Final = 0.1
"""Of the time to live: how much earlier than the ledger a holder gives up, for clocks that do not run alike and for the
time that it takes to stop.  The time of a round trip, at most as much again, is added."""

HOLD_GATHER_S: Final = 0.2
"""Seconds, at most a tenth of its interval, that a renewal may come early to share a script call with others: at 500
leases a second, that fills one of `BATCH_ITEMS_MAX` items."""

HOLD_POLL_S: Final = 1.0
"""Seconds after which the threads that keep leases look at the clock again.  Waiting stands still while the machine
sleeps, the leases go on."""

HOLD_IDLE_S: Final = 5.0
"""Seconds that those threads outlive the last hold, for a program that holds again and again."""

HOLD_RENEW_S: Final = 2.0
"""Seconds, at most half an interval, that one call of renewals may take, its repeats included; then it is planned anew.
A hold that ends waits as long for a renewal under way."""

# -- environment -------------------------------------------------------------------------------------------------------
URL_VARIABLES: Final = ("ALLOCATOR_REDIS_URL", "REDIS_URL")
"""Where the URL comes from when none is given, in this order."""

REQUIRE_URL_VARIABLE: Final = "ALLOCATOR_REQUIRE_URL"
"""`1` makes a missing URL an error, where `ResourceAllocator()` would otherwise fall back to `memory://`."""


def url_from_environment() -> str | None:
    """The URL that the environment names, or None.  An empty variable counts as unset."""
    for variable in URL_VARIABLES:
        if url := os.environ.get(variable, "").strip():
            return url
    return None


def url_is_required() -> bool:
    """Whether the environment forbids the fallback to a store that other processes do not see."""
    return os.environ.get(REQUIRE_URL_VARIABLE, "") not in ("", "0")
