"""All limits and defaults, each with its unit and its reason; `allocator.environment` has the variables.

Those that the scripts share are listed in `allocator._engine.protocol.schema`.
"""

from __future__ import annotations

from typing import Final

# -- numbers -----------------------------------------------------------------------------------------------------------
AMOUNT_MAX: Final = 2**53 - 1
"""The largest exact integer of a Lua number (a double): the maximum of every counter; 8 PiB for bytes."""

QUANTITY_LENGTH_MAX: Final = 32
"""Characters of a quantity's text.  Longer ones are refused before any arithmetic, so that `1e200000` costs no time."""

FRACTION_BITS_MAX: Final = 2_048
"""Bits of a fraction's numerator or denominator: room for each float as a fraction."""

MEMORY_MIN: Final = 2**20
"""Bytes.  A smaller memory request is nearly always a forgotten suffix (`512` for `512Mi`)."""

INSTANT_MIN_MS: Final = 1_000_000_000_000
"""Milliseconds since 1970, in September 2001.  A smaller number for an instant is nearly always seconds."""

# -- names -------------------------------------------------------------------------------------------------------------
NAME_LENGTH_MAX: Final = 64
"""Characters of a pool's name, or of a metadata key."""

ID_LENGTH_MAX: Final = 512
"""Characters of an allocation id or an owner.

In Kubernetes a namespace has up to 63 characters, a name 253, a uid 36: `namespace/name/uid` has 354, and with a
cluster's name and a kind before it, of 63 each, 482.  Redis keeps what is written, not what may be; from 64 bytes on
a value of a record takes it more memory than its length.
"""

RESOURCE_LENGTH_MAX: Final = 317
"""Characters of a resource's name: in Kubernetes a DNS name of up to 253, a slash, and up to 63."""

PREFIX_LENGTH_MAX: Final = 32
"""Characters of the key prefix, which every key repeats."""

REASON_LENGTH_MAX: Final = 200
"""Characters of a reason that a caller gives, which is written to the events."""

PREFIX_DEFAULT: Final = "allocator"

OWNER_DEFAULT: Final = "anonymous"
"""The owner of a call that names none.  It is the same on every replica, so that any of them may repeat the call."""

# -- requests ----------------------------------------------------------------------------------------------------------
RESOURCES_MAX: Final = 32
"""Resources of one request or pool."""

SCOPE_DEPTH_MAX: Final = 8
SCOPE_LENGTH_MAX: Final = 128
"""Parts of a scope's path, and its characters: each part is an account that a request reads and writes."""

QUOTAS_MAX: Final = 20_000
"""Scopes of a pool."""

METADATA_ENTRIES_MAX: Final = 16
METADATA_BYTES_MAX: Final = 4096
"""Bytes of all keys and values together, in UTF-8.  Redis stalls on megabytes; people read kilobytes."""

TTL_MIN_S: Final = 1.0
"""Seconds.  Shorter leases cannot be renewed reliably over a network."""

TTL_MAX_S: Final = 30 * 86_400.0
"""Seconds: 30 days.  A longer allocation is renewed, or pinned with `ttl=None`."""

AGE_MAX_S: Final = 10 * 366 * 86_400.0
"""Seconds: ten years, the largest age that `maintenance.reclaim(older_than=)` and the filters accept."""

LIFETIME_MAX_S: Final = AGE_MAX_S
"""Seconds: the longest `max_lifetime`, the time until the hard end of an allocation."""

# -- script calls ------------------------------------------------------------------------------------------------------
BATCH_ITEMS_MAX: Final = 100
"""Items of one script call: about a millisecond of the server's time."""

BATCH_BYTES_MAX: Final = 65_536
"""Bytes of arguments of one script call."""

MANY_ITEMS_MAX: Final = 10_000
"""Items of one call of `*_many`, which is sent in several batches."""

BATCH_IN_FLIGHT: Final = 2
"""Script calls of one queue in flight at a time: one that the server works on, one that the event loop works on."""

BATCH_SPLIT_FROM: Final = 16
"""From this many waiting items on they are split among the calls that may be in flight; fewer go in one."""

OPTIONS_MAX: Final = 16
"""Options of one request beyond its resources and metadata."""

OVERCOMMIT_PERMILLE_MAX: Final = 15_000
"""The most thousandths beyond its capacity that a pool gives out of a resource: sixteen times the capacity in all."""

FIELDS_MAX: Final = 7_000
"""Fields of a pool that one script call reads: a Lua call takes at most 8,000 values."""

BATCH_LATE_S: Final = 0.05
"""Seconds after its deadline at which a caller of a shared script call fails: the attempt's error is more precise."""

RECLAIM_INLINE_MAX: Final = 64
"""Expired records that one `allocate` or growing `resize` reclaims (about 1.5 us each)."""

RECLAIM_BATCH_MAX: Final = 200
"""Records that one script call of `reclaim` ends: under a millisecond of the server's time."""

CHECK_EXPIRED_MAX: Final = 256
"""Expired records that `check` counts as free before it replies `more`."""

EXPLAIN_DEADLINES_MAX: Final = 256
"""Future deadlines that an estimate reads."""

PAGE_RECORDS_MAX: Final = 500
"""Records of one page: about 11 ms of the server's time."""

AUDIT_RECORDS_MAX: Final = 10_000
"""Records that one script call audits at most, of any size; more are read in pages."""

AUDIT_FIELDS_MAX: Final = 16_000
"""Fields that one script call audits, `RECORD_FIELDS` and the resources of each record: 1,600 of two, under 25 ms."""

RECORD_FIELDS: Final = 8
"""The approximate number of fields of a record beside its resources."""

MENDS_MAX: Final = 1_000
"""Corrections of one `repair` call; the next call makes the rest."""

REPAIR_CALLS_MAX: Final = 20
"""Calls of a repair in one script: more than its records can need."""

AUDIT_ATTEMPTS_MAX: Final = 5
"""Attempts of a paged audit, which starts again when the pool's revision changes, before it is inconclusive."""

OFFLINE_MS: Final = 120_000
"""Milliseconds that a repair may refuse new grants: twice the longest call, so that a killed one does not block."""

FINDINGS_MAX: Final = 100
"""Findings that an audit lists; it counts all."""

POOLS_MAX: Final = 10_000
"""Pools that `pools.list()` lists."""

POOL_UPDATES_MAX: Final = 5
"""Attempts of `pools.create(update=True)` that meet another change, before it raises."""

POOL_WARNINGS_MAX: Final = 256
"""Differences of pools that a process remembers to have logged."""

SCAN_COUNT: Final = 1_000
SCAN_KEYS_MAX: Final = 10_000_000
"""The COUNT hint of a SCAN, and the keys that one visits at most, on a server that is shared with other data."""

EVENTS_MAX: Final = 10_000
"""The approximate number of entries that a pool's event stream keeps."""

HISTORY_MINUTES_MAX: Final = 1440
HISTORY_HOURS_MAX: Final = 744
HISTORY_PAGE_MAX: Final = 240
"""Of a pool's usage a point a minute is kept for a day, and one an hour for 31 days; the points of one reply."""

# -- retries -----------------------------------------------------------------------------------------------------------
DEADLINE_S: Final = 10.0
"""Seconds that one call may take in all, retries included, unless the client sets another `timeout`."""

DEADLINE_MAX_S: Final = 60.0
"""Seconds: the longest total deadline.  `ENDED_KEEP_MS` is twice that, so no copy of a call outlives its completion."""

ATTEMPT_TIMEOUT_S: Final = 2.0
"""Seconds that one attempt may wait for the server."""

PROBE_TIMEOUT_S: Final = 0.5
"""Seconds of each step of the connection that finds out whether a port speaks TLS, after a first one failed."""

PROBES_MAX: Final = 2
"""Such connections to one server, of which each may delay a call."""

WAIT_MIN_S: Final = 0.001
"""The least seconds that a sent attempt waits for its reply."""

REDIRECTS_MAX: Final = 5
"""Cluster redirects that one call follows at once; further ones wait like any other failure."""

SENTINEL_REFRESH_S: Final = 1.0
"""Seconds after which the Sentinels are asked again for the primary, while calls are made: one more round trip."""

SENTINEL_BELIEF_S: Final = 2.0
"""Seconds for which a primary may be relied on after a Sentinel last named it.

The deadline of a later grant or renewal is reduced by the excess: by then the Sentinels may have named another primary,
whose recovery grace counts.  Twice `SENTINEL_REFRESH_S`, so that a Sentinel has a second to reply before deadlines
are reduced.
"""

SENTINEL_TIMEOUT_S: Final = 0.5
"""Seconds that a periodic refresh delays a call; a later reply of a Sentinel counts when it arrives."""

SENTINEL_PATIENCE_S: Final = 2.0
"""Seconds after which a Sentinel is asked again: a later reply would be as old as `SENTINEL_BELIEF_S`."""

CONNECTIONS_MAX: Final = 100
"""Connections that one client object opens to one server; a further call waits for one, within its deadline."""

BACKOFF_BASE_S: Final = 0.02
BACKOFF_CAP_S: Final = 1.0
"""Seconds between attempts: doubled from the base up to the cap, each multiplied by a random factor of 0.5 to 1."""

ENDED_KEEP_MS: Final = int(2 * DEADLINE_MAX_S * 1000)
"""Milliseconds that the id of a completed call is kept."""

ENDED_MAX: Final = 200_000
"""Completed calls kept per pool; about 25 MB."""

TRIM_EVERY: Final = 32
"""Revisions of a pool after which old completed calls are trimmed: on every change it would cost two commands."""

ENDED_TRIM: Final = 8
"""Old completed calls trimmed for each of those revisions, and for each one added: more than one change can add."""

ENDED_TRIM_MAX: Final = 2_000
"""Old completed calls that one script trims: under a millisecond, and more than a batch of 100 can add."""

CALLS_MAX: Final = 3
"""Call ids that a record keeps, one of each call that returned it: 64 bytes of ids keep it compact."""

UNDO_QUEUE_MAX: Final = 10_000
"""Calls that wait to be undone until the server is reachable; the oldest is dropped first, which is logged."""

UNDO_FOR_S: Final = 300.0
"""Seconds for which an undo is retried."""

CLOSE_FLUSH_S: Final = 2.0
"""Seconds that `close()` spends on queued undos."""

# -- waiting -----------------------------------------------------------------------------------------------------------
HEARTBEAT_S: Final = 5.0
"""Seconds after which a waiting call asks again though no message has woken it: how long a lost message delays it.

A message is lost with its connection: it is published once, to those who listen at that instant.
"""

WAKE_POLL_S: Final = 1.0
"""Seconds after which a waiting call asks again where it cannot listen: on a server before Redis 7, without the right
to the channel, and while a connection is broken.  A waiting thread also looks as often whether its client was closed.
"""

WAKE_IN_PROCESS_S: Final = 0.02
"""The same for the in-process store, which has no messages, and whose clock a test may advance at any time."""

# -- recovery and the clock --------------------------------------------------------------------------------------------
RECOVERY_FENCES: Final = 1_000_000
"""How far the fences of a pool jump after a loss of data: more than the number of grants that can be lost."""

FENCE_AHEAD_MAX: Final = 2**40
"""How far a fence of a caller may be ahead of the pool's revision, or of its clock in microseconds.

No server can have lost 10^12 changes, and a larger fence would exhaust the range of fences.
"""

RECOVERY_GRACE_MAX_S: Final = 3_600.0
"""Seconds: the longest recovery grace.  Nothing is granted for that time after each restart and failover."""

RECOVERY_MARGIN_S: Final = 5.0
"""Seconds by which the longest ttl of a pool is shorter than its recovery grace, unless `max_ttl` is set.

It is the time for which a holder may rely on a replaced primary: `SENTINEL_BELIEF_S`; two seconds in which a Sentinel
may still name the old one; and one for clocks that differ.
"""

CLOCK_STEP_MS: Final = 1_000
"""Milliseconds that the server's clock may go back before the pool's time gets an offset; below, it stands still.
A lease that is missing within this time of its deadline counts as expired, not as lost data.
"""

CLOCK_JUMP_MS: Final = 60_000
"""Milliseconds without a write to the pool after which the clock may have been set forward meanwhile."""

CLOCK_SEEN_MS: Final = 1_000
"""Milliseconds after which a renewal writes the time to the pool, though it changes nothing else there."""

RECONCILE_IDS_MAX: Final = 100_000
"""Ids that one `reconcile` accepts: it holds them, and the owner's allocations, in memory."""

DURABLE_REPLICAS_MAX: Final = 16
"""Replicas that a call may wait for."""

# -- waiting in line ---------------------------------------------------------------------------------------------------
PRIORITY_MAX: Final = 1_000
"""The highest priority of a request; the lowest is its negative."""

WAIT_MAX_S: Final = 7 * 86_400.0
WAIT_MAX_MS: Final = int(WAIT_MAX_S * 1000)
"""Seconds, and milliseconds, that a request may wait: a week.  Its client must be there all the time."""

WAITER_TTL_MS: Final = 15_000
"""Milliseconds without a word of its client after which a waiter leaves the line: three of its heartbeats."""

GRANT_CLAIM_MS: Final = 15_000
"""Milliseconds for which a grant from the line is kept for its waiter: three heartbeats, so that two may be lost."""

WAITERS_LOOKED_MAX: Final = 32
"""Requests in line that one script call looks at, from the first on or from where an earlier call has stopped."""

GANG_MAX: Final = 32
"""Requests of an atomic batch that waits as one."""

SHARER_LOOKED_MAX: Final = 256
"""Waiters that one script call looks at to find the first of a scope."""

LOOK_AGAIN_MS: Final = 2_500
"""Milliseconds within which those who ask again look at the whole line, for what no call has told: half a heartbeat."""

LINE_MARKS_MAX: Final = 256
"""Counters that waiters are short of, which are kept for the next call where one stops in the midst of a line."""

QUEUE_MAX: Final = 100_000
"""Requests that wait in a pool, unless it has a lower limit; about 40 MB."""

QUEUE_POLICIES: Final = ("contended", "strict", "best_effort")
QUEUE_POLICY: Final = "contended"
"""Who may pass those who wait in line, and which of them counts in a pool that says nothing else."""

PASSES_LIMIT: Final = 1_000_000
"""The highest limit of passes that a pool may have."""

PASSES_MAX: Final = 100
"""Grants that may pass the first waiter, unless the pool has another limit, before room is kept for it."""

WAIT_PASSED_MAX_S: Final = 600.0
WAIT_PASSED_MAX_MS: Final = int(WAIT_PASSED_MAX_S * 1000)
"""Seconds, and milliseconds, after which room is kept for the first waiter, unless the pool has another limit."""

WEIGHT_MAX: Final = 1_000
PENALTY_PARTS: Final = 10
HALF_LIFE_S: Final = 86_400.0
HALF_LIFE_MS: Final = int(HALF_LIFE_S * 1000)
HALF_LIFE_MIN_S: Final = 60.0
HALF_LIFE_MAX_S: Final = 365 * 86_400.0
"""Fair share: the largest weight; the part of what is live that counts at once; the half-life of use, its bounds."""

AUDIT_WAITERS_MAX: Final = 1_000
"""Waiters, from the first on, that an audit compares: under 10 ms of the server's time."""

PAGE_WAITERS_MAX: Final = 200
"""Waiters of one page of the line."""

PREEMPT_GRACE_S: Final = 30.0
PREEMPT_GRACE_MS: Final = int(PREEMPT_GRACE_S * 1000)
"""Seconds, and milliseconds, that a preempted allocation keeps its room, unless the pool has another grace."""

PREEMPT_VICTIMS_MAX: Final = 64
"""Allocations that one request takes at a time."""

PREEMPT_CANDIDATES_MAX: Final = 128
PREEMPT_LOOKED_MAX: Final = 256
PREEMPT_COUNTERS_MAX: Final = 3_000
"""Allocations among which it chooses, those that it reads, and the counters that these are charged to: under 25 ms."""

EXPLAIN_WAITERS_MAX: Final = 32
LINE_PRIORITIES_MAX: Final = 32
"""Waiters, from the first on, of which a listing estimates the start; priorities, highest first, of a pool's usage."""

EXPLAIN_COUNTERS_MAX: Final = 9_000
"""Counters of allocations that the estimates of one script call look at, together; they foresee nothing beyond."""

BACKFILL_STARTS_MAX: Final = 8
"""Times that one script call computes when the first waiter could start; beyond, it backfills nobody."""

# -- leases ------------------------------------------------------------------------------------------------------------
HOLD_INTERVAL: Final = 1 / 3
"""The interval of renewals as a share of the time to live.  Two may fail before the lease lapses."""

HOLD_JITTER: Final = 0.1
"""How much earlier a renewal may randomly be, as a share of the interval, so that holders spread out."""

HOLD_MARGIN: Final = 0.1
"""How much earlier than the server's deadline a lease lapses for its holder, as a share of the time to live.

It allows for clocks of different speed and for the time to stop.  The time of a round trip, at most as much again, is
added.
"""

HOLD_BATCH_S: Final = 0.2
"""Seconds, at most a tenth of its interval, that a renewal may be early to share a script call with others."""

HOLD_POLL_S: Final = 1.0
"""Seconds after which the renewer's threads read the clock again: a wait stops while a machine sleeps, a lease not."""

HOLD_IDLE_S: Final = 5.0
"""Seconds that those threads outlive the last hold, for a program that makes holds repeatedly."""

HOLD_RENEW_S: Final = 2.0
"""Seconds, at most half an interval, that a call of renewals may take; a hold that ends waits as long for one."""
