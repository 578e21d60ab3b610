"""The options of a pool beyond its capacity (recovery, ttl, durability, scopes, line), and a pool saved in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeVar, cast

import click

from allocator.apps.cli import arguments, pool_units
from allocator.apps.cli.arguments import GivenText, bounded, scope, whole_number
from allocator.apps.cli.completion import scopes
from allocator.apps.cli.context import App
from allocator.apps.cli.errors import ExitCode, Failure
from allocator.apps.cli.output import rfc3339
from allocator.durability import durability
from allocator.durations import exact
from allocator.errors import InvalidRequest
from allocator.models.pools import Pool
from allocator.models.preemption import NO_PREEMPTION, PreemptionPolicy
from allocator.models.queue import DEFAULT_POLICY, QueuePolicy
from allocator.settings import (
    HALF_LIFE_MS,
    LIFETIME_MAX_S,
    PASSES_LIMIT,
    PREEMPT_GRACE_MS,
    QUEUE_MAX,
    QUEUE_POLICIES,
    RECOVERY_GRACE_MAX_S,
    TTL_MAX_S,
    WAIT_PASSED_MAX_S,
)

__all__ = ["differing", "given", "options", "saved_pool", "shown", "tell_closed", "tell_misspelled", "tell_too_long"]

F = TypeVar("F", bound=Callable[..., Any])
"""A function to which options are added."""

_NAMES = ("recovery_grace", "max_ttl", "max_lifetime", "durability", "default_scope", "require_scope")

_QUEUE: Final = {
    "queue_policy": "policy",
    "queue_passes_max": "passes_max",
    "queue_wait_max": "wait_max",
    "queue_length_max": "length_max",
    "queue_backfill": "backfill",
    "queue_half_life": "half_life",
}
"""Options of the line, and what `QueuePolicy` calls them."""


_PREEMPTION: Final = {"preemption": "permitted", "preempt_grace": "grace", "preempt_protect": "protect"}
"""Options of preemption, and what `PreemptionPolicy` calls them."""


def _scope(text: str) -> str:
    """Parse a scope, or the empty text that removes it."""
    return scope(text) if text else ""


def options(command: F) -> F:
    """Add the options; 0s, `memory`, an empty scope or `--no-...` removes one."""
    for option in (
        *_of_preemption(),
        *_of_the_line(),
        click.option(
            "--durability",
            metavar="LEVEL",
            help="memory, replicated:N, fsynced or fsynced+replicated:N, of each grant.",
        ),
        click.option(
            "--max-lifetime",
            type=bounded(LIFETIME_MAX_S),
            metavar="DURATION",
            help="The longest time from a grant to its hard end.",
        ),
        click.option(
            "--max-ttl", type=bounded(TTL_MAX_S), metavar="DURATION", help="The longest time to live; --pin is refused."
        ),
        click.option(
            "--recovery-grace",
            type=bounded(RECOVERY_GRACE_MAX_S),
            metavar="DURATION",
            help="How long to grant nothing after the server lost data.",
        ),
        click.option(
            "--require-scope/--no-require-scope",
            default=None,
            help="Refuse requests without a scope, if there is no default scope.",
        ),
        click.option(
            "--default-scope",
            type=_scope,
            metavar="SCOPE",
            shell_complete=scopes,
            help="The scope of requests that name none; '' removes it.",
        ),
    ):
        command = option(command)
    return pool_units.options(command)


def _of_the_line() -> Iterable[Callable[[Any], Any]]:
    """The options of those who wait, the last first."""
    most = f"[{DEFAULT_POLICY.length_max}]"
    yield click.option(
        "--queue-half-life",
        type=arguments.half_life,
        metavar="DURATION",
        help=f"After what time past use counts half, where scopes have weights [{exact(HALF_LIFE_MS)}].",
    )
    yield click.option(
        "--queue-backfill",
        type=click.Choice(("on", "off")),
        help="Whether who surely ends before the first waiter can start is let through [off].",
    )
    yield click.option(
        "--queue-length-max",
        type=whole_number(0, QUEUE_MAX),
        metavar="NUMBER",
        help=f"How many requests may wait {most}.",
    )
    yield click.option(
        "--queue-wait-max",
        type=arguments.age,
        metavar="DURATION",
        help=f"How long the first waiter may be passed [{exact(round(WAIT_PASSED_MAX_S * 1000))}].",
    )
    yield click.option(
        "--queue-passes-max",
        type=whole_number(0, PASSES_LIMIT),
        metavar="NUMBER",
        help=f"How many grants may pass the first waiter [{DEFAULT_POLICY.passes_max}].",
    )
    yield click.option(
        "--queue-policy",
        type=click.Choice(QUEUE_POLICIES),
        help=f"Who may pass those who wait [{DEFAULT_POLICY.policy}].",
    )


def _of_preemption() -> Iterable[Callable[[Any], Any]]:
    """The options of preemption, the last first."""
    yield click.option(
        "--preempt-protect",
        type=arguments.age,
        metavar="DURATION",
        help="How long from its grant on an allocation is not preempted [0s].",
    )
    yield click.option(
        "--preempt-grace",
        type=bounded(TTL_MAX_S),
        metavar="DURATION",
        help=f"How long a preempted allocation keeps its room [{exact(PREEMPT_GRACE_MS)}]; 0s ends it at once.",
    )
    yield click.option(
        "--preemption",
        type=click.Choice(("on", "off")),
        help="Whether requests may take room from lower priorities [off].",
    )


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The given options, as arguments of the clients."""
    units = pool_units.given(values)
    found = {name: values[name] for name in _NAMES if values.get(name) is not None}
    line = {short: values[name] for name, short in _QUEUE.items() if values.get(name) is not None}
    taking = {short: values[name] for name, short in _PREEMPTION.items() if values.get(name) is not None}
    if "backfill" in line:
        line["backfill"] = line["backfill"] == "on"
    if "permitted" in taking:
        taking["permitted"] = taking["permitted"] == "on"
    found |= {"units": units} if units else {}
    found |= {"queue": QueuePolicy(**line)} if line else {}
    return found | ({"preemption": PreemptionPolicy(**taking)} if taking else {})


def differing(item: Pool, values: dict[str, Any]) -> list[str]:
    """The given options that an existing pool has otherwise, as text: what it has."""
    has: list[str] = []
    if "recovery_grace" in values and round(values["recovery_grace"] * 1000) != item.recovery_grace_ms:
        has.append(f"--recovery-grace {exact(item.recovery_grace_ms)}")
    if "max_ttl" in values and round(values["max_ttl"] * 1000) != item.max_ttl_ms:
        has.append(f"--max-ttl {exact(item.max_ttl_ms)}")
    if "max_lifetime" in values and round(values["max_lifetime"] * 1000) != item.max_lifetime_ms:
        has.append(f"--max-lifetime {exact(item.max_lifetime_ms)}")
    if "durability" in values and durability(values["durability"]) != durability(item.durability):
        has.append(f"--durability {item.durability}")
    if "default_scope" in values and values["default_scope"] != (item.default_scope or ""):
        has.append(f"--default-scope {item.default_scope or repr('')}")
    if "require_scope" in values and values["require_scope"] != item.require_scope:
        has.append("--require-scope" if item.require_scope else "--no-require-scope")
    for name, policy in (("queue", item.queue), ("preemption", item.preemption)):
        stored = policy.texts()
        for option, text in values[name].texts().items() if name in values else ():
            if stored.get(option) != text:
                has.append(f"--{option.replace('_', '-')} {stored.get(option)}")
    return has + pool_units.differing(item, values.get("units", {}))


def tell_misspelled(app: App, names: Iterable[str], counted: Collection[str]) -> None:
    """Note each resource that a pool counts from now on, and whose name is nearly that of another.

    Args:
        app: the run.
        names: the resources of the command.
        counted: those that the pool has counted before.
    """
    known = [*arguments.KNOWN, *counted]
    for name in names:
        meant = "" if name in known else arguments.closest(name, known)
        if meant:
            app.note(f"note: {name} is a resource like any other, counted in pieces: was {meant} meant?")


def tell_closed(app: App, item: Pool) -> None:
    """Note that a new pool grants nothing yet, as it has a recovery grace and was not said to be new."""
    if item.state == "recovering":
        left = exact(item.recovery_grace_ms)
        app.note(
            f"note: {item.name} grants nothing for {left}, as a lost pool of this name may have holders: "
            f"'pool end-recovery {item.name}' ends it, and --new says that there was none"
        )


def tell_too_long(app: App, item: Pool) -> None:
    """Note that leases may outlast the recovery grace: what a loss of data lost may then be granted twice."""
    grace, longest = item.recovery_grace_ms, item.max_ttl_ms
    if grace and not 0 < longest <= grace:
        what = f"the longest ttl ({exact(longest)}) is longer than" if longest else "any ttl is granted, also beyond"
        app.note(
            f"note: {what} the recovery grace ({exact(grace)}): after a loss of data two may hold the same; "
            "--max-ttl shortens the one, --recovery-grace extends the other"
        )


_USUAL: Final = {**DEFAULT_POLICY.texts(), **NO_PREEMPTION.texts()}
_LABELS: Final = {
    "queue_policy": "Queue policy",
    "queue_passes_max": "Passes",
    "queue_wait_max": "Passed for",
    "queue_length_max": "Queue length",
    "queue_backfill": "Backfill",
    "queue_half_life": "Half-life",
    "preemption": "Preemption",
    "preempt_grace": "Preempt grace",
    "preempt_protect": "Protected for",
}


def shown(item: Pool) -> list[tuple[str, str | list[tuple[str, str]]]]:
    """The options of a pool, for people."""
    rows: list[tuple[str, str | list[tuple[str, str]]]] = [*pool_units.shown(item)]
    if item.recovery_grace_ms:
        rows.append(("Recovery grace", exact(item.recovery_grace_ms)))
    if item.max_ttl_ms:
        rows.append(("Longest ttl", exact(item.max_ttl_ms)))
    if item.max_lifetime_ms:
        rows.append(("Longest life", exact(item.max_lifetime_ms)))
    if item.durability != "memory":
        rows.append(("Durability", item.durability))
    if item.default_scope is not None:
        rows.append(("Default scope", item.default_scope))
    if item.require_scope:
        rows.append(("Scope", "required"))
    for name, text in {**item.queue.texts(), **item.preemption.texts()}.items():
        if text != _USUAL[name]:
            rows.append((_LABELS[name], text))
    if item.state == "recovering":
        rows.append(("Recovering", f"until {rfc3339(item.recovering_until_ms)}: {item.recovering_why}"))
    if item.clock_offset_ms:
        rows.append(("Clock", f"{exact(item.clock_offset_ms)} ahead of the server's, which was set back"))
    return rows


def saved_pool(file: GivenText) -> Pool:
    """The pool that the text of a file describes.

    Raises:
        Failure: the text is another; the message says where, and what is wrong with it.
    """
    try:
        told = json.loads(file.text)
        if isinstance(told, dict):
            return Pool.from_dict(cast("dict[str, Any]", told))
        why = "it is no object"
    except json.JSONDecodeError as error:
        why = f"line {error.lineno} column {error.colno}: {error.msg}" if file.text.strip() else "it is empty"
    except InvalidRequest as error:
        why = str(error)
    except RecursionError:
        why = "it is nested too deep"
    raise Failure(f"{file.name} is not what 'pool show -o json' prints: {why}", ExitCode.USAGE)
