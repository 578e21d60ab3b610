"""What `top` says: the help, and sentences about what is wrong or was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from allocator.apps.cli.output import columns, counted, duration, printable
from allocator.apps.top.feed import Trouble
from allocator.apps.top.reading import STALE_S, Reading
from allocator.models.allocations import Allocation, Release
from allocator.units import format_amount

__all__ = ["HELP", "NO_TERMINAL", "READ_ONLY", "banner", "question", "released", "state"]

NO_TERMINAL: Final = "top draws on a terminal, and this is none"

READ_ONLY: Final = "refused: top was started with --read-only"

HELP: Final = """\
1 2 3 4     allocations, the line, scopes, events; Tab: the next one
Arrows      move, also j and k, PgUp, PgDn, Home, End
Enter       describe: an allocation with all that happened to it;
            of a scope: its allocations
/           filter: rows that contain each word; Esc removes it
s S         sort by the next column; the other way round
Space A     mark the row; mark all rows shown; Esc removes marks
d           release the marked allocations, or that of the cursor:
            it names them and asks; a later grant is not touched
p           another pool
b           all resources, where more than fit
r t         read again now; light or dark
q           quit; Ctrl-C, too

A click selects, two clicks describe, a click on a header sorts.

THE BARS: allocated of what the pool gives out, what is available,
and the last minute (a dot: not known).
  high       from 70 %
  near full  from 90 %
  full       nothing is available
  over       the limit was lowered below what is allocated
STATUS: Live, Pinned (no deadline), Releasing, Preempted, or
  Due: past its deadline, and not yet taken back.
SHORT OF: why a request waits, cpu=2@team-a is of that scope.
  its turn: it fits, and must not pass those before it.
SCOPES: NOMINAL its share, BORROWED above it, LENT lacking of it
  as others have it, KEPT guaranteed below it, AVAILABLE for it now.

Times and ages are by the server's clock.  A change is shown when it
happens; renewals are no events, and appear within some seconds.
"""

_OUTCOMES: Final = {
    "released": "released",
    "unknown": "not live any more",
    "fenced": "another grant by now, and not touched",
    "missing": "missing its record",
}


def banner(trouble: Trouble | None, reading: Reading | None, now_s: float) -> str:
    """What is wrong, and how old the figures are; "" if nothing is."""
    age = f"These figures are {duration(reading.age_s(now_s))} old." if reading else "Nothing is known yet."
    if trouble is None:
        stale = reading is not None and reading.age_s(now_s) > STALE_S
        return f"STALE: no reply yet to the last reading.  {age}" if stale else ""
    if trouble.gone:
        return f"POOL GONE: {_one_row(trouble.message)}.  {age}  'p' shows other pools."
    return f"AWAY for {duration(now_s - trouble.since_s)}: {_one_row(trouble.message)}.  {age}  Trying again."


def _one_row(text: str) -> str:
    return printable(" ".join(text.split())).rstrip(".")


def state(reading: Reading, now_ms: int) -> str:
    """The counts of a pool, and its state where that is not the usual one."""
    usage = reading.usage
    parts = [counted(usage.allocations, "allocation"), f"{usage.pinned} pinned", f"{usage.due} due"]
    parts.append(f"{usage.waiting} waiting")
    if usage.pool.state == "recovering":
        left = duration((usage.pool.recovering_until_ms - now_ms) / 1000)
        parts.append(f"RECOVERING: grants nothing new for {left}")
    elif usage.pool.state != "active":
        parts.append(f"POOL IS {usage.pool.state.upper()}")
    return ", ".join(parts)


def question(items: Sequence[Allocation], pool: str) -> str:
    """What a release would end: how many, of whom, how much in all."""
    owners = Counter(one.owner for one in items)
    names = [
        f"{printable(owner)[:60]}{f' ({number})' if len(items) > 1 else ''}" for owner, number in owners.most_common(4)
    ]
    if len(owners) > 4:
        names.append(f"{len(owners) - 4} more")
    sums: dict[str, int] = {}
    for one in items:
        for name, amount in one.resources.items():
            sums[name] = sums.get(name, 0) + amount
    amounts = ", ".join(f"{name} {format_amount(name, sums[name])}" for name in columns([sums]))
    return (
        f"Release {counted(len(items), 'allocation')} of pool {printable(pool)}?\n"
        f"owner{'s' if len(owners) > 1 else ''}: {', '.join(names)}\n"
        f"gives back: {amounts}"
    )


def released(outcomes: Sequence[Release]) -> str:
    """What a release did."""
    if len(outcomes) == 1:
        return f"{printable(outcomes[0].id)[:100]} is {_OUTCOMES.get(outcomes[0].outcome, outcomes[0].outcome)}"
    counts = Counter(one.outcome for one in outcomes)
    return ", ".join(f"{number} {_OUTCOMES.get(word, word)}" for word, number in counts.most_common())
