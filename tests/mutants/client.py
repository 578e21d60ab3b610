"""The planted bugs of the client: those that were there once, and what the scripts leave to it."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

CLIENT: Final = (
    # -- waiting -------------------------------------------------------------------------------------------------------
    Mutant(
        "asked before it listens", "allocator/_engine/execution/wake_waits.py",
        "return subscription is not None and self._listen(subscription, until)",
        "return self._listen(subscription or self._subscriptions[channel], until)",
        "a message that is published before the first question is waited for in vain", "engine/test_wake",
    ),
    Mutant(
        "deadline of the first request", "allocator/_engine/execution/driver_async.py",
        "until = time.monotonic() + timeout_s\n                    else:", "pass\n                    else:",
        "a call that has waited for longer than its timeout cannot ask any more", "engine/test_wake",
    ),
    Mutant(
        "deaf for ever", "allocator/_engine/execution/wake_waits_async.py",
        "if found is not None and found.connections is connections:", "if found is not None:",
        "a waiting call listens on a replaced primary", "topologies/test_waking",
    ),
    Mutant(
        "dead without a word", "allocator/_engine/execution/listener_async.py",
        "if self._unanswered and time.monotonic() - self._unanswered[0][1] > self.patience_s:", "if False:",
        "a listening connection that has died silently is never replaced", "engine/test_wake",
    ),
    Mutant(
        "refused together", "allocator/_engine/execution/listener_async.py",
        "if not self.confirmed and self.failure is None:", "if not self.confirmed:",
        "one user without a right ends the subscriptions of all", "engine/test_wake_async",
    ),
    # -- A6: Sentinels -------------------------------------------------------------------------------------------------
    Mutant(
        "late answer not heard", "allocator/_engine/transport/sentinel.py",
        "partial(make, settings.SENTINEL_PATIENCE_S,", "partial(make, settings.SENTINEL_TIMEOUT_S,",
        "A6: a client stays with a replaced primary while its Sentinels are slow", "topologies/test_slow_sentinels",
    ),
    Mutant(
        "late answer not awaited", "allocator/_engine/transport/sentinel_async.py",
        "seconds = settings.SENTINEL_PATIENCE_S", "seconds = settings.SENTINEL_TIMEOUT_S",
        "A6: a client stays with a replaced primary while its Sentinels are slow", "topologies/test_slow_sentinels",
    ),
    Mutant(
        "one Sentinel after the other", "allocator/_engine/transport/sentinel.py",
        "for address in [one for one in unasked if one not in self._asking]:",
        "for address in () if self._asking else unasked[:1]:",
        "A6: silent Sentinels keep those that would answer from being asked", "topologies/test_slow_sentinels",
    ),
    Mutant(
        "believed for ever", "allocator/_engine/execution/undo_log.py",
        "sent - confirmed - settings.SENTINEL_BELIEF_S)", "0.0)",
        "A6: a holder believes a primary that no Sentinel names any more", "topologies/test_slow_sentinels",
    ),
    Mutant(
        "belief not told", "allocator/_engine/execution/validity.py",
        "found.deadline_ms - round(overdue_s * 1000)", "found.deadline_ms",
        "A6: a deadline is told that only a replaced primary knows", "topologies/test_slow_sentinels",
    ),
    Mutant(
        "held for ever", "allocator/_engine/leases/lease.py",
        " - min(self.margin_s, now - sent) - overdue_s", " - min(self.margin_s, now - sent)",
        "A6: a hold is good for longer than its primary may be believed", "unit/test_lease_schedule",
    ),
    Mutant(
        "confirmed by any", "allocator/_engine/transport/primary_discovery.py",
        "for vote in self._votes.values() if vote.named == chosen]", "for vote in self._votes.values()]",
        "A6: a Sentinel that names another primary confirms this one", "engine/test_primary_discovery",
    ),
    Mutant(
        "no slack", "allocator/_engine/operations/pools.py",
        "return grace - margin if grace else 0", "return int(grace)",
        "A6: the longest ttl is the grace, and a holder believes beyond it", "clients/test_recovery",
    ),
    Mutant(
        "doctor without slack", "allocator/_engine/operations/maintenance/doctor_checks.py",
        "margin_ms = 0 if alone else int(RECOVERY_MARGIN_S * 1000)", "margin_ms = 0",
        "A6: doctor is content with a grace that is too short", "unit/test_doctor_checks",
    ),
    # -- A8, A16: connections ------------------------------------------------------------------------------------------
    Mutant(
        "cancelled look", "allocator/_engine/transport/connections_async.py",
        "except BaseException:  # cancelled", "except ArithmeticError:  # cancelled",
        "A8: after a hundred cancelled looks all connections are in use", "engine/test_connection_pool",
    ),
    Mutant(
        "interrupted look", "allocator/_engine/transport/connections.py",
        "except BaseException:  # interrupted: its slot in the pool is freed", "except ArithmeticError:  # interrupted",
        "A8: the same by interrupts", "engine/test_connection_pool",
    ),
    Mutant(
        "opens to a primary given up", "allocator/_engine/transport/connections.py",
        "        if self._superseded:\n", "        if self._superseded is None:\n",
        "A16: who waited for a connection is granted by a primary that is none", "engine/test_connection_pool",
    ),
    Mutant(
        "a task opens to a primary given up", "allocator/_engine/transport/connections_async.py",
        "        if self._superseded:\n", "        if self._superseded is None:\n",
        "A16: a task that waited for a connection is granted by a primary that is none", "engine/test_connection_pool",
    ),
    # -- A10, A11: what is said, and what is sent ----------------------------------------------------------------------
    Mutant(
        "says undone", "allocator/_engine/execution/durability_wait.py",
        '("change", "it stays")', '("change", "it is undone")',
        "A10: a resize that is not durable says that it is undone", "engine/test_durability_wait",
    ),
    Mutant(
        "undoes what is no grant", "allocator/_engine/execution/durability_wait.py",
        "ambiguous=undo)", "ambiguous=True)",
        "A10: the undo of a resize is queued", "engine/test_durability_wait",
    ),
    Mutant(
        "gang of any size", "allocator/_engine/operations/allocate.py",
        "if (size := weight(call)) > settings.BATCH_BYTES_MAX:", "if (size := weight(call)) < 0:",
        "A11: one gang holds the server up for as long as it likes", "clients/test_batches",
    ),
    # -- A12, A13: shared script calls ---------------------------------------------------------------------------------
    Mutant(
        "longest deadline for all", "allocator/_engine/execution/batching.py",
        "if until < self._wakes:", "if until < 0:",
        "A12: a call is answered by the deadline of whoever shares its script call", "engine/test_batching",
    ),
    Mutant(
        "overtaken by its own", "allocator/_engine/execution/batching.py",
        "again += followers(queue, again)", "again += ()",
        "A13: the last item of a caller is decided before the first", "engine/test_batching",
    ),
    Mutant(
        "paused queue forgotten", "allocator/_engine/execution/batching.py",
        "if not (queue.send_loops or queue.send_due or queue.paused):", "if not (queue.send_loops or queue.send_due):",
        "A13: a queue that pauses is made anew, and its order is lost", "engine/test_batching",
    ),
    # -- what the scripts leave to the client --------------------------------------------------------------------------
    Mutant(
        "what a failed flow has pinned", "allocator/_engine/execution/undo_log.py",
        '{"granted", "replayed", "existing", "waiting"}', '{"granted", "replayed", "waiting"}',
        "a lease that a failed call pinned stays for ever", "engine/test_undo_log",
    ),
    Mutant(
        "repeated denial not undone", "allocator/_engine/execution/undo_log.py",
        '"denied", "estimated", "conflict", "ttl_too_long",', "",
        "a copy of what was denied is granted later", "engine/test_undo_log",
    ),
    Mutant(
        "access not looked at", "allocator/_engine/execution/invocation.py",
        "if not in_process and connections.checked.wants(connection, script, call.pool):", "if not script:",
        "a script fails in the midst of its writes where a key has another type", "engine/test_access_check",
    ),
    Mutant(
        "access looked at each time", "allocator/_engine/execution/invocation.py",
        "        connections.checked.add(connection, pool)\n", "",
        "each call pays a round trip more", "engine/test_access_check",
    ),
    # -- the original API ----------------------------------------------------------------------------------------------
    Mutant(
        "what a check keeps is not used", "allocator/compat/grants.py",
        "None if kept is None else kept[1].allocation", "None",
        "D1: the allocate after a check that said yes is refused", "programs/compat/test_reserve_on_check",
    ),
    Mutant(
        "what a check keeps outlives its task", "allocator/compat/check_leases.py",
        "if not known and isinstance(asker, asyncio.Task):", "if known is None and isinstance(asker, asyncio.Task):",
        "who only asked holds the room until the lease lapses", "programs/compat/test_reserve_on_check",
    ),
    Mutant(
        "in its own way", "allocator/compat/grants.py",
        "not outcome.never and await self._make_way(client, askers)", "outcome.never",
        "a task is refused for what its own checks keep", "programs/compat/test_reserve_on_check",
    ),
    Mutant(
        "release not sent again", "allocator/compat/releases.py",
        "            RENEWERS.release_later(location, lease)", "            self._ended(id, None)",
        "D2: what is released during an outage stays charged", "programs/compat/test_releases",
    ),
)  # fmt: skip
