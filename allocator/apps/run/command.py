"""`run`: allocate, run a command while the lease is renewed, release, and exit with the command's exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from allocator.apps.cli import arguments
from allocator.apps.cli.arguments import PREEMPT, PRIORITY, assignment, assignments, metadatum, needs_wait
from allocator.apps.cli.completion import scopes
from allocator.apps.cli.context import App, Command
from allocator.apps.cli.errors import ExitCode, Failure, exit_code, hint
from allocator.apps.run.child import Child, CommandNotRun
from allocator.apps.run.endings import KILL_AFTER, LeaseEvent, why_lost, why_preempted
from allocator.apps.run.signals import Interrupted, SignalThread, Taken, stop_this_process
from allocator.apps.run.terminal import Terminal
from allocator.errors import (
    AllocationConflict,
    AllocationLost,
    AllocatorError,
    BackendUnavailable,
    Insufficient,
    Recovering,
)
from allocator.settings import WAIT_MAX_S

if TYPE_CHECKING:
    from allocator import Allocator, Hold

__all__ = ["run"]

POLL_S: Final = 1.0
"""Seconds between two attempts for what does not wait in line: half to one and a half of them, at random."""

TTL: Final = "60s"

_EXCLUSIVE: Final = "exclusive=True"
"""What the library calls it that another `run` is refused."""

_SIGNALLED: Final = 128
"""Added to the number of the signal that ended the command, as shells do."""

_KEYBOARD: Final = ("SIGINT", "SIGQUIT", "SIGTSTP", "SIGWINCH")
"""What a terminal sends to its foreground group."""

_CODES: Final = {
    ExitCode.DENIED: ExitCode.NOT_GRANTED,
    ExitCode.UNREACHABLE: ExitCode.NO_SERVER,
    ExitCode.OUTCOME_UNKNOWN: ExitCode.NO_SERVER,
}
"""The exit code of another command -> that of `run`; else 125."""

_LATER: Final = (Insufficient, AllocationConflict, BackendUnavailable, Recovering)
"""What may be over at the next attempt."""


class _UsageError(click.UsageError):
    """Wrong usage of `run`."""

    exit_code = ExitCode.RUN_FAILED


class RunCommand(Command):
    """A command with another command behind `--`, and exit codes that do not look like those of that one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what stands behind the first `--`."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["command"] = args[at + 1 :]
        try:
            rest = super().parse_args(ctx, args[:at])
        except click.UsageError as error:
            raise _UsageError(error.format_message(), ctx) from error
        if not ctx.meta["command"] and not ctx.resilient_parsing:
            raise _UsageError("there is no command: write it after --, as in 'run cpu=2 -- make -j2'", ctx)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; an error of the library gets the exit code that `run` has for it."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _UsageError(error.format_message(), ctx) from error
        except AllocatorError as error:
            raise _failure(error, ctx.ensure_object(App).shown_address) from error


def _said(error: AllocatorError) -> str:
    """The message in the words of the command line."""
    return str(error).replace(_EXCLUSIVE, "run")


def _failure(error: AllocatorError, url: str) -> Failure:
    if isinstance(error, AllocationConflict):
        advice = hint(error, url) if error.code == "waiting" else "--wait waits for its end, --shared shares it"
        return Failure(_said(error), ExitCode.ID_IN_USE, hint=advice)
    code = _CODES.get(exit_code(error), ExitCode.RUN_FAILED)
    advice = hint(error, url)
    if isinstance(error, Insufficient) and not error.denial.never:
        advice = "--wait DURATION waits in line until it fits"
    return Failure(str(error), code, hint=advice)


@click.command("run", cls=RunCommand)
@click.argument(
    "resources", nargs=-1, required=True, type=assignment, metavar="RESOURCE=QUANTITY... -- COMMAND [ARG]..."
)
@click.option(
    "--ttl", type=arguments.new_time_to_live, default=TTL, metavar="DURATION", help=f"Time to live, renewed [{TTL}]."
)
@click.option(
    "--max-lifetime",
    type=arguments.lifetime,
    metavar="DURATION",
    help="Its hard end: shortly before it the command gets TERM.",
)
@click.option("--wait", type=arguments.age, default="0s", metavar="DURATION", help="Wait in line for that long [0s].")
@PRIORITY
@PREEMPT
@click.option(
    "--id", "id_", metavar="ID", help="Its id: while it is live, another 'run' is refused.  Random otherwise."
)
@click.option("--shared", is_flag=True, help="Share a live allocation of --id; the first that ends releases it.")
@click.option(
    "--kill-after",
    type=arguments.age,
    metavar="DURATION",
    help="After a loss: time from TERM to KILL [a tenth of --ttl].",
)
@click.option("--owner", metavar="NAME", help="Who holds it [anonymous].")
@click.option(
    "--scope",
    type=arguments.scope,
    metavar="SCOPE",
    shell_complete=scopes,
    help="The scope to charge too [the pool's default].",
)
@click.option("--meta", multiple=True, type=metadatum, metavar="KEY=VALUE", help="Text to keep with it; repeatable.")
@click.pass_context
def run(context: click.Context, /, *, resources: tuple[tuple[str, str], ...], **options: Any) -> int:
    r"""Run a command while an allocation is held, and release it at the end.

    \b
    resource-allocator run cpu=2 memory=4Gi --wait 1h -- make -j2
    resource-allocator run nvidia.com/gpu=1 --id nightly -- ./train.sh

    The lease is renewed while the command runs.  Signals are passed on.  If the lease is lost, ends with
    --max-lifetime, or is preempted, the command gets TERM, then KILL.  It finds ALLOCATOR_ID, ALLOCATOR_FENCE,
    ALLOCATOR_POOL and ALLOCATOR_RESOURCES in its environment.

    \b
    Exit codes: the command's, 128+N if signal N ended it, or
      121 lease lost               122 --id is in use    123 server unreachable, or outcome unknown
      124 not granted in time      125 other errors      126 not executable      127 not found
    """
    app = context.ensure_object(App)
    if sys.platform == "win32":
        raise Failure("run needs a Unix system", ExitCode.RUN_FAILED)
    command: list[str] = context.meta["command"]
    _look_up(command[0])
    return _Run(app, command, assignments(resources), **options).perform()


def _look_up(name: str) -> None:
    """Refuse a command that is not there, before anything is allocated."""
    if shutil.which(name):
        return
    if shutil.which(name, mode=os.F_OK) or ("/" in name and Path(name).exists()):
        raise Failure(f"{name}: permission denied", ExitCode.NOT_EXECUTABLE)
    raise Failure(f"{name}: command not found", ExitCode.NO_COMMAND)


class _Run:
    """One command and its allocation."""

    def __init__(
        self,
        app: App,
        command: Sequence[str],
        request: dict[str, str],
        *,
        ttl: float,
        max_lifetime: float | None,
        wait: float,
        priority: int,
        preempt: bool,
        id_: str | None,
        shared: bool,
        kill_after: float | None,
        owner: str | None,
        scope: str | None,
        meta: tuple[tuple[str, str], ...],
    ) -> None:
        self._app = app
        self._command = command
        needs_wait(preempt, wait)
        self._wait_s, self._preempt = wait, preempt
        longest = ttl if max_lifetime is None else min(ttl, max_lifetime)
        self._kill_given_s, self._kill_after_s = kill_after, longest * KILL_AFTER if kill_after is None else kill_after
        self._what: dict[str, Any] = {
            "request": request,
            "ttl": ttl,
            "max_lifetime": max_lifetime,
            "id": id_,
            "owner": owner,
            "scope": scope,
            "metadata": assignments(meta) or None,
            "exclusive": not shared,
            "priority": priority,
            "on_lost": self._hear_of_lease,
            "on_preempt": self._hear_of_lease,
        }
        self._events: queue.SimpleQueue[Taken | LeaseEvent] = queue.SimpleQueue()
        self._hold: Hold | None = None
        self._lost = self._preempted = False
        self._kill_at: float | None = None

    def _hear_of_lease(self, _hold: Hold) -> None:
        """From another thread."""
        self._events.put(LeaseEvent())

    def perform(self) -> int:
        """Allocate, run, release; returns the exit code."""
        self._terminal = Terminal.open()
        self._signals = SignalThread(self._events.put)
        # Forked now, as this is the last moment with one thread.
        self._child = Child(self._command, own_group=self._terminal is None, mask=self._signals.mask)
        self._signals.start()
        try:
            hold = self._obtain()
        except Interrupted as interrupted:
            self._child.abandon()
            self._give_back()
            return _SIGNALLED + interrupted.number
        except BaseException:
            self._child.abandon()
            raise
        try:
            code = self._attend(hold)
        finally:
            self._child.kill()
            loss = _leave(hold)
        if loss is not None and not self._lost:
            self._tell(f"error: {loss}")
        return ExitCode.LEASE_LOST if loss is not None or self._preempted else code

    def _obtain(self) -> Hold:
        """Allocate, with `--wait` in line.  What ends otherwise, as the use of an id, is tried again and again.

        The first attempt does not wait, so that the reason for waiting can be shown.
        """
        waits = False
        try:
            self._signals.interruptible = True
            client = self._app.client()
            ends = time.monotonic() + self._wait_s
            while True:
                left = ends - time.monotonic()
                try:
                    return self._hold_new(client, max(0.0, min(left, WAIT_MAX_S)) if waits else None)
                except _LATER as error:
                    left = ends - time.monotonic()
                    if left <= 0 or (isinstance(error, Insufficient) and error.denial.never):
                        raise
                    if not waits:
                        self._app.note(f"waiting: {_said(error)}")
                    in_line = not waits and isinstance(error, Insufficient)
                    waits = True
                if not in_line:
                    threading.Event().wait(min(left, random.uniform(0.5, 1.5) * POLL_S))
        finally:
            self._signals.interruptible = False

    def _hold_new(self, client: Allocator, wait: float | None) -> Hold:
        self._hold = client.hold(**self._what, wait=wait, preempt=self._preempt and wait is not None)
        held = self._hold.__enter__()
        self._app.end_silence()
        return held

    def _give_back(self) -> None:
        """Release what a signal kept from being used."""
        with contextlib.suppress(RuntimeError, AllocatorError):  # the former: the hold has not begun
            if self._hold is not None:
                self._app.client().release(self._hold.allocation)

    def _attend(self, hold: Hold) -> int:
        """Run the command to its end; returns its exit code."""
        environment = {
            "ALLOCATOR_ID": hold.id,
            "ALLOCATOR_FENCE": str(hold.fence),
            "ALLOCATOR_POOL": hold.allocation.pool,
            "ALLOCATOR_RESOURCES": str(hold.resources),
        }
        if self._app.url is not None:
            environment["ALLOCATOR_REDIS_URL"] = self._app.url
        try:
            self._child.start(environment)
        except CommandNotRun as error:
            self._tell(f"error: {self._command[0]}: {error}")
            return ExitCode.NO_COMMAND if error.number == errno.ENOENT else ExitCode.NOT_EXECUTABLE
        while True:
            event = self._next()
            if not self._lost and hold.lost:
                self._lost, self._kill_at = True, time.monotonic() + self._kill_after_s
                self._end(why_lost(hold))
            elif not self._preempted and (why := why_preempted(hold)):
                self._preempted = True
                if self._kill_given_s is None:
                    self._kill_after_s = min(self._kill_after_s, hold.remaining * KILL_AFTER)
                self._end(why)
            if isinstance(event, Taken) and self._is_for_child(event):
                self._child.send(event.number)
            while (change := self._child.poll()) is not None:
                if not change.stopped:
                    self._clean_up(killed=change.by_signal)
                    return change.code
                self._stop_too(change.code)

    def _next(self) -> Taken | LeaseEvent | None:
        """The next event; None: the command has had its time to end, and is killed."""
        try:
            return self._events.get(
                timeout=None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
            )
        except queue.Empty:
            self._child.send(signal.SIGKILL)
            self._kill_at = None
            return None

    def _end(self, why: str) -> None:
        """End the command: its lease is lost, or will be."""
        self._tell(f"error: {why}: the command gets TERM")
        self._child.send(signal.SIGTERM)
        self._child.send(signal.SIGCONT)  # a stopped process does not take it

    def _is_for_child(self, taken: Taken) -> bool:
        """Whether the command has not got this signal itself."""
        if taken.number == signal.SIGCHLD or taken.sender == self._child.pid:
            return False
        if self._terminal is None:
            return True
        if taken.sender is not None:
            return taken.sender != 0
        keyboard = signal.Signals(taken.number).name in _KEYBOARD
        return not (keyboard and self._terminal.is_foreground)

    def _stop_too(self, number: int) -> None:
        """Stop with the command at a terminal, so that the shell goes on; without one the lease is still renewed."""
        if self._terminal is None or self._lost:
            return
        # Whoever sends SIGSTOP to the command alone continues it alone; a shell with jobs so stops its own group.
        if number != signal.SIGSTOP or self._child.has_own_group:
            stop_this_process()

    def _clean_up(self, *, killed: bool) -> None:
        if self._lost:
            self._child.end_group(self._kill_at or 0.0)
        elif self._preempted:
            self._child.end_group(time.monotonic() + self._kill_after_s)
        if self._terminal is not None:
            self._terminal.restore(modes=killed)

    def _tell(self, message: str) -> None:
        self._app.end_silence()
        with contextlib.suppress(OSError):  # stderr may be closed
            click.echo(message, err=True)


def _leave(hold: Hold) -> AllocationLost | None:
    """Release; the loss if the lease did not last."""
    try:
        hold.__exit__(None, None, None)
    except AllocationLost as loss:
        return loss
    return None
