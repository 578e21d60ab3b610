"""A dashboard with twenty pages, an exporter, `top` and ten watches look at a pool behind Sentinel, for long.

Meanwhile clients change the pool and are killed, and its primary fails over.  After each failover each of them sees new
events within `SEEN_S`; none passes over an event in silence; none needs more and more memory; each process has one
blocked read; nobody ends, and nothing is written that looks like a bug.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final

from allocator import Allocator, AllocatorError, BackendError, Event
from allocator._engine.servers.process import GuardedProcess, ServerReplyError
from tests.soak.eyes_pages import MARK, STREAMS, Pages, Scraper, Screen
from tests.soak.eyes_work import POOL, TTL_S, WATCHES, Entry, complaints, entry, program
from tests.soak.report import Coverage, StageReport
from tests.support.sentinel import Sentinels
from tests.support.waiting import wait_until

SECONDS: Final = 90.0
"""Of the whole figures: at a scale of 40 it is an hour."""

CALM_S: Final = 8.0
"""Seconds between a failover that is over and the next one; fewer where the whole stage is short."""

LOADS: Final = 3
CAPACITY: Final = {"cpu": 16, "marks": 1_000}
GRACE_S: Final = 4.0

SEEN_S: Final = 30.0
"""Seconds in which each sees new events once the pool grants again: two rounds of requests take about five."""

MARK_AGAIN_S: Final = 2.0
"""Seconds after which there is another new event, for who shows only the latest ones."""

BLOCKED_READS: Final = 4
"""At most: one of the dashboard, of `top`, and of each of the two processes with watches; the exporter has none."""

SAMPLE_S: Final = 1.0

RSS_GROWTH_MAX_KB: Final = 8_192
"""From the second quarter to the last eighth of a whole run, by the medians."""

BUGS: Final = re.compile(r"Traceback|ResourceWarning|was never (awaited|retrieved)|Exception ignored|panicked")

FORM_S: Final = 120.0
"""Seconds in which everything is there, or comes back: programs that import much start slowly on a busy machine."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A process, and the file that has its output."""

    process: GuardedProcess
    log: Path

    @classmethod
    def start(cls, log: Path, *words: str) -> Program:
        """Start it."""
        return cls(GuardedProcess(words, output=log), log)

    @property
    def said(self) -> str:
        """All that it has written."""
        return self.log.read_text(encoding="utf-8", errors="replace")


class Stored:
    """The events of the pool, by what its primary has stored: read again from before each failover."""

    def __init__(self, client: Allocator) -> None:
        self._client = client
        self._from_ms = client.pools.usage().read_ms
        self.ids: list[Entry] = []
        self.trimmed = False

    def look(self) -> None:
        """Read what has come since the last look, and keep what was read before the last failover."""
        found: list[Event] = self._client.events.since(self._from_ms)
        read = list(found)
        while found:
            found = self._client.events.since(found[-1].id)
            read += found
        self.trimmed |= any(one.kind == "missed" for one in read)
        ids = [entry(one.id) for one in read]
        self.ids = [one for one in self.ids if one < (self._from_ms, 0)] + ids

    def settle(self) -> None:
        """Keep what is stored now: the next look begins a second ago."""
        self.look()
        self._from_ms = max(self._from_ms, self.ids[-1][0] - 1_000 if self.ids else 0)


class Site:
    """The servers, all that looks at them, and what is done."""

    def __init__(self, sentinels: Sentinels, client: Allocator, folder: Path, chance: random.Random) -> None:
        self.sentinels = sentinels
        self.client = client
        self.folder = folder
        self.chance = chance
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self.samples: list[dict[str, int]] = []
        self.slowest_s = 0.0
        self._stack = contextlib.ExitStack()
        self._marks = 0
        self._loads = 0
        self.crew: list[Program] = []

    def __enter__(self) -> Site:
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _start(self, stack: contextlib.ExitStack) -> None:
        url = self.sentinels.url
        self.client.pools.create(POOL, CAPACITY, recovery_grace=GRACE_S, max_ttl=TTL_S, new=True)
        self.stored = Stored(self.client)
        self.journals = [self.folder / f"{kind}.{number}" for kind in ("sync", "async") for number in range(WATCHES)]
        commands = {
            "dashboard": ["-m", "allocator", "dashboard", POOL, "--port", "0", "--url", url, "--timeout", "5"],
            "exporter": ["-m", "allocator", "metrics", POOL, "--port", "0", "--url", url, "--timeout", "5"],
        }
        words = {name: [program()[0], *more] for name, more in commands.items()}
        words |= {kind: program(kind, url, str(self.folder / kind)) for kind in ("sync", "async")}
        self.programs = {name: Program.start(self.folder / f"{name}.log", *more) for name, more in words.items()}
        for one in self.programs.values():
            stack.callback(one.process.kill)
        self.screen = Screen(POOL, "--url", url, "--timeout", "5")
        stack.callback(self.screen.close)
        self.screen.begin(FORM_S)
        self.scraper = stack.enter_context(Scraper(self._said("exporter", r"http://\S+/metrics")))
        self.pages = stack.enter_context(Pages(self._said("dashboard", r"http://\S+/#token=\S+"), self.folder))
        stack.callback(self._end_crew)
        for _ in range(LOADS):
            self._hire()

    def _said(self, name: str, pattern: str) -> str:
        one = self.programs[name]
        found = wait_until(lambda: re.search(pattern, one.said), timeout_s=FORM_S, message=f"{name} says where it is")
        assert found is not None
        return found[0]

    def _hire(self) -> None:
        self._loads += 1
        words = program("load", self.sentinels.url, str(self._loads))
        self.crew.append(Program.start(self.folder / f"load{self._loads}.log", *words))

    def _end_crew(self) -> None:
        for one in self.crew:
            one.process.kill()

    # -- what is done --------------------------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Let them work, and note how much memory each has."""
        ends = time.monotonic() + seconds
        while True:
            self.check()
            self.samples.append(self.memory())
            if (left := ends - time.monotonic()) <= 0:
                return
            threading.Event().wait(min(SAMPLE_S, left))

    def fail_over(self) -> None:
        """One failover of three kinds, and the death of a client."""
        self.stored.settle()
        how = self.chance.choice(("kill", "stop", "operator"))
        self.screen.other_size(self.chance)
        victim = self.crew.pop(self.chance.randrange(len(self.crew)))
        victim.process.kill()
        self._hire()
        old = self.sentinels.primary
        if how == "operator":
            self.sentinels.fail_over()
        elif how == "kill":
            old.kill()
            self.sentinels.wait_for_another(old)
            old.start()
        else:
            old.stop_process()
            self.sentinels.wait_for_another(old)
            old.cont()
        self.counts.update({"failovers": 1, f"by_{how}": 1, "clients_killed": 1})
        self.see_new_events()
        wait_until(self._follow_again, timeout_s=FORM_S, message="every replica follows the new primary")
        self.stored.look()

    def _follow_again(self) -> bool:
        with contextlib.suppress(OSError, ServerReplyError, KeyError):
            told = [one.info("replication") for one in self.sentinels.servers if one is not self.sentinels.primary]
            return all(one["role"] == "slave" and one["master_link_status"] == "up" for one in told)
        return False

    def see_new_events(self) -> None:
        """Each sees an event that is newer than the failover; then no process has more than one blocked read."""
        began = time.monotonic()
        wait_until(self._is_granting, timeout_s=FORM_S, message="the pool grants again")
        self._marks += 1
        mark, granting = self._marks, time.monotonic()
        granted = 0
        rounds, again_at, late = self.pages.whole_rounds, 0.0, self._late(mark, 0, 0)
        while late and time.monotonic() < granting + SEEN_S:
            self.check()
            if time.monotonic() >= again_at:
                with contextlib.suppress(AllocatorError):
                    self.client.allocate({"marks": 1}, ttl=TTL_S, id=f"mark-{mark}-{self.chance.getrandbits(32):x}")
                    granted = granted or self.client.pools.usage().counters.get("granted", 0)
                again_at = time.monotonic() + MARK_AGAIN_S
            threading.Event().wait(0.05)
            late = self._late(mark, rounds, granted)
        self.problems += [f"{name} had seen nothing new {SEEN_S:g} s after a failover" for name in late]
        self.slowest_s = max(self.slowest_s, time.monotonic() - granting)
        self.counts["seconds_away"] += round(granting - began)
        try:
            wait_until(lambda: self._blocked_reads() <= BLOCKED_READS, timeout_s=SEEN_S, message="blocked reads")
        except AssertionError as error:
            self.problems.append(f"{error}: {self._blocked_reads()} of {BLOCKED_READS}")

    def _is_granting(self) -> bool:
        with contextlib.suppress(BackendError):
            self.client.maintenance.reclaim()  # a recovery that is over ends with the next call that changes something
            return self.client.pools.usage().pool.state == "active"
        return False

    def _late(self, mark: int, rounds: int, granted: int) -> list[str]:
        """Who has not seen the mark."""
        late = [path.name for path in self.journals if _last_mark(path) < mark]
        late += [f"page {number}" for number, seen in enumerate(self.pages.marks) if seen < mark]
        late += ["top"] if self.screen.mark < mark else []
        late += ["exporter"] if not granted or self.scraper.granted < granted else []
        return late + (["an endpoint of the dashboard"] if self.pages.whole_rounds < rounds + 2 else [])

    def _blocked_reads(self) -> int:
        """Connections that block on a stream of events, or have done so last."""
        return self.sentinels.primary.ask("CLIENT", "LIST").count("cmd=xread ")

    # -- what is judged ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """None has ended by itself."""
        numbered = {f"load {number}": one for number, one in enumerate(self.crew)}
        for name, one in (self.programs | numbered).items():
            assert one.process.running, f"{name} has ended by itself:\n{one.said[-3000:]}"
        assert self.screen.process.poll() is None, f"top has ended by itself: {self.screen.seen[-3000:]}"

    def memory(self) -> dict[str, int]:
        """Kilobytes that each needs."""
        pids = {name: one.process.pid for name, one in self.programs.items()} | {"top": self.screen.process.pid}
        page_kb = os.sysconf("SC_PAGE_SIZE") // 1024
        return {name: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page_kb for name, pid in pids.items()}

    def finish(self, report: StageReport, *, whole: bool) -> None:
        """End the load, and judge."""
        self._end_crew()
        self.crew.clear()
        wait_until(self._is_empty, timeout_s=FORM_S, message="what the dead had taken has come back")
        self.see_new_events()
        audit = self.client.maintenance.audit()
        if not audit:
            self.problems.append(str(audit))
        self.stored.settle()
        counters = self.client.pools.usage().counters
        self.pages.close()
        self.scraper.close()
        if (code := self.screen.quit()) != 0:
            self.problems.append(f"top ended with {code}")
        for name in ("dashboard", "exporter"):
            self.programs[name].process.signal(signal.SIGTERM)
            if not self.programs[name].process.wait(FORM_S):
                self.problems.append(f"{name} does not end")
        self._judge_journals()
        self._judge_outputs()
        self._judge_memory(whole=whole)
        answers, scrapes = self.pages.answers, self.scraper.seen
        report.problems += [*self.problems, *self.pages.problems[:20], *self.scraper.problems[:20]]
        report.counts.update(self.counts)
        report.counts.update(
            {
                "events": len(self.stored.ids), "grants": counters.get("granted", 0),
                "denials": sum(number for name, number in counters.items() if name.startswith("denied.")),
                "answers": answers.total(), "of_them_while_away": answers.total() - answers[200],
                "streams_opened": self.pages.seen["opened"],
                "scrapes": scrapes.total(), "of_them_down": scrapes["down"],
                "kilobytes_drawn": self.screen.drawn // 1024, "slowest_to_see_ms": round(1000 * self.slowest_s),
            }
        )  # fmt: skip

    def _is_empty(self) -> bool:
        with contextlib.suppress(BackendError):
            self.client.maintenance.reclaim()
            return self.client.pools.usage().allocations == 0 and not self.client.queue.list()
        return False

    def _judge_journals(self) -> None:
        if self.stored.trimmed:
            self.problems.append("the stream was cut before the stage had read it")
        for path in [*self.journals, *self.pages.journals]:
            lines = path.read_text(encoding="utf-8").splitlines()
            self.counts["events_seen"] += len(lines)
            self.counts["told_missed"] += sum(line.split(" ")[1] == "missed" for line in lines)
            self.problems += [f"{path.name}: {one}" for one in complaints(lines, self.stored.ids)]

    def _judge_outputs(self) -> None:
        for path in sorted(self.folder.glob("*.log")):
            if BUGS.search(text := path.read_text(encoding="utf-8", errors="replace")):
                self.problems.append(f"{path.name}: {text[-3000:]}")
        if BUGS.search(self.screen.seen):
            self.problems.append(f"top: {self.screen.seen[-3000:]}")

    def _judge_memory(self, *, whole: bool) -> None:
        """The first quarter is not judged: imports and caches."""
        size = len(self.samples)
        for name in self.samples[0]:
            series = [one[name] for one in self.samples]
            warm = round(statistics.median(series[size // 4 : size // 2 + 1]))
            last = round(statistics.median(series[-max(1, size // 8) :]))
            self.counts.update({f"{name}_kb": last, f"{name}_kb_grown": last - warm})
            if whole and last - warm > RSS_GROWTH_MAX_KB:
                self.problems.append(f"{name} needs {last} kB, and needed {warm} kB in the second quarter")


def _last_mark(path: Path) -> int:
    """The newest mark at the end of a journal."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_536))
        text = file.read().decode()
    return max((int(found) for found in MARK.findall(text)), default=0)


def run(*, seed: int, scale: float, coverage: Coverage) -> StageReport:
    """On the newest engine."""
    report = StageReport("eyes", [seed])
    seconds = SECONDS * scale
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        Sentinels(replicas=2, down_after_ms=500) as sentinels,
        Allocator.from_url(sentinels.url, pool=POOL, attempt_timeout=5.0, timeout=60.0) as client,
        Site(sentinels, client, Path(folder), random.Random(seed)) as site,
    ):
        site.see_new_events()
        while True:
            site.pass_time(min(CALM_S, seconds / 4))
            site.fail_over()
            if time.monotonic() >= began + seconds:
                break
        site.finish(report, whole=scale >= 1)
    report.counts["watches_and_pages"] = 2 * WATCHES + STREAMS
    coverage.saw("recovering", report.counts["failovers"])
    return report
