"""The longest that one call can hold the server, for it serves nobody else meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import redis

from allocator import Allocator
from allocator.errors import Insufficient, InvalidRequest
from allocator.models.allocations import Allocation, Request
from bench import verbs
from bench.rows import LeftOut, Result, row
from bench.stage import POOL, Sizes, Stage
from bench.verbs import FORESEEN, KEYS, MANY, OWNER, RECLAIMED, RESOURCES, TTL_S, Live

_NAMES: Final = [f"r{number:02}" for number in range(RESOURCES)]
"""Short, so that as many items as possible go into the bytes that one call may have."""

_AMPLE: Final = dict.fromkeys(_NAMES, "1G")
_WIDE: Final = dict.fromkeys(_NAMES, "1")

_NOTICED_US: Final = 50
"""What takes less is not in the server's log, and no matter here."""

_AGO_MS: Final = 7_200_000

Kind = Callable[["Scene"], Callable[[], object]]
"""Makes ready what a call wants to find; returns the call, which says whether it has done what it is here for."""


class Scene:
    """A server, a pool of as many resources as there may be, and a client."""

    def __init__(self, stage: Stage, client: Allocator, sizes: Sizes) -> None:
        self.stage, self.client, self.sizes = stage, client, sizes

    def live(self, count: int, *, room: int = 0, ended: bool = False) -> list[Live]:
        """A fresh pool with allocations of all resources; with room for so many in all, if not for any number.

        They are long past their deadline where they are to have `ended`.
        """
        self.stage.fresh(capacity={name: str(room) for name in _NAMES} if room else _AMPLE)
        now_ms = int(1000 * time.time()) - _AGO_MS if ended else 0
        return verbs.grant(self.stage, _wide(count), now_ms)

    def longest_ms(self, act: Callable[[], object]) -> float:
        """Milliseconds of the longest script call that this makes, by the server's own log."""
        control: Any = self.stage.client()
        control.slowlog_reset()
        done = act()
        assert done, f"{act} has not done what is measured: {done}"
        entries = control.slowlog_get(-1)
        scripts = [entry["duration"] for entry in entries if _text(entry["command"]).startswith("EVAL")]
        return max(scripts, default=_NOTICED_US) / 1000


def _text(command: str | bytes) -> str:
    return command if isinstance(command, str) else command.decode(errors="replace")


def _held(lives: Sequence[Live]) -> list[Allocation]:
    return [each.one for each in lives]


def _wide(count: int) -> list[Request]:
    return [Request(_WIDE, ttl=TTL_S) for _ in range(count)]


def _strange(count: int) -> list[Request]:
    """All of them of resources that nobody counts, each of others."""
    return [Request({f"x{item:02}{name}": "1" for name in _NAMES}, ttl=TTL_S) for item in range(count)]


# -- the kinds: each makes ready, and returns the call ----------------------------------------------------------------


def _allocate(scene: Scene) -> Callable[[], object]:
    scene.live(0)
    return lambda: _granted(scene, _wide(MANY))


def _allocate_reclaiming(scene: Scene) -> Callable[[], object]:
    scene.live(RECLAIMED, room=RECLAIMED, ended=True)
    return lambda: _granted(scene, _wide(MANY))


def _granted(scene: Scene, requests: list[Request]) -> bool:
    return all(isinstance(outcome, Allocation) for outcome in scene.client.allocate_many(requests))


def _existing(scene: Scene) -> Callable[[], object]:
    lives = scene.live(MANY)
    return lambda: _granted(scene, [Request(_WIDE, ttl=TTL_S, id=each.one.id) for each in lives])


def _gang(requests: Callable[[int], list[Request]]) -> Kind:
    def prepare(scene: Scene) -> Callable[[], object]:
        scene.live(0)

        def act() -> int:
            for count in range(MANY, 0, -5):  # the largest that is not too large to be sent
                with contextlib.suppress(InvalidRequest):
                    with contextlib.suppress(Insufficient):  # that has held the server, too
                        scene.client.allocate_many(requests(count), atomic=True)
                    return count
            return 0

        return act

    return prepare


def _renew(scene: Scene) -> Callable[[], object]:
    held = _held(scene.live(MANY))
    return lambda: all(scene.client.renew_many(held))


def _release(scene: Scene) -> Callable[[], object]:
    held = _held(scene.live(MANY))
    return lambda: all(scene.client.release_many(held))


def _adopt(scene: Scene) -> Callable[[], object]:
    call = verbs.adopt_many(scene.live(MANY))
    command = verbs.command(scene.stage, call)
    return lambda: {reply[0] for reply in scene.stage.send(Stage.EMPTY, [command])[0]} == {"adopted"}


def _reclaim(scene: Scene) -> Callable[[], object]:
    scene.live(RECLAIMED, ended=True)
    return lambda: scene.client.maintenance.reclaim(limit=RECLAIMED).count == RECLAIMED


def _explain(scene: Scene) -> Callable[[], object]:
    scene.live(FORESEEN, room=FORESEEN)
    wanted = {name: str(FORESEEN) for name in _NAMES}
    return lambda: scene.client.check(wanted, explain=True).fits_ms


def _delete(scene: Scene) -> Callable[[], object]:
    scene.live(10 * MANY)
    return lambda: scene.client.pools.delete(POOL, force=True)


def _audit(scene: Scene) -> Callable[[], object]:
    _large(scene)
    return scene.client.maintenance.audit


def _repair(scene: Scene) -> Callable[[], object]:
    _large(scene)
    for name in _NAMES:
        scene.stage.client().hincrby(KEYS["pool"], f"{name}.allocated", 1)
    return lambda: scene.client.maintenance.audit(repair=True).status == "repaired"


def _list(scene: Scene) -> Callable[[], object]:
    _large(scene)
    return lambda: next(iter(scene.client.list()))


def _large(scene: Scene) -> None:
    """As many as an audit looks at in one call; what is there already is taken as it is."""
    found: Any = scene.stage.client().zcard(KEYS["deadlines"])
    if found != scene.sizes.audited:
        scene.live(scene.sizes.audited)


_KINDS: Final[dict[str, Kind]] = {
    "allocate": _allocate,
    "allocate, reclaiming": _allocate_reclaiming,
    "existing": _existing,
    "gang": _gang(_wide),
    "gang of other resources": _gang(_strange),
    "renew": _renew,
    "release": _release,
    "adopt": _adopt,
    "reclaim": _reclaim,
    "check, explained": _explain,
    "delete": _delete,
    "audit": _audit,
    "list": _list,
    "repair": _repair,
}


@contextlib.contextmanager
def _logging(stage: Stage) -> Generator[None]:
    """Let the server log all that takes long enough to matter."""
    control: Any = stage.client()
    try:
        before = {**control.config_get("slowlog-log-slower-than"), **control.config_get("slowlog-max-len")}
        control.config_set("slowlog-log-slower-than", _NOTICED_US)
        control.config_set("slowlog-max-len", 10_000)
    except redis.ResponseError as error:
        raise LeftOut(f"the server's log cannot be set: {error}") from error
    try:
        yield
    finally:
        for name, value in before.items():
            control.config_set(name, value)
        control.slowlog_reset()


@row(
    "longest",
    f"the longest that one call holds the server ({MANY} x {RESOURCES}; audit and repair at their bounds)",
    at_least=25,
    aim=10,
    smaller_is_better=True,
    unit=" ms",
)
def longest(stage: Stage, sizes: Sizes) -> Result:
    """Of each kind the quickest of some repetitions, for a neighbour only ever lengthens it; of these the worst."""
    found: dict[str, float] = {}
    with (
        _logging(stage),
        Allocator.from_url(stage.url, pool=POOL, owner=OWNER, timeout=60, attempt_timeout=30) as client,
    ):
        scene = Scene(stage, client, sizes)
        for name, kind in _KINDS.items():
            found[name] = min(scene.longest_ms(kind(scene)) for _ in range(sizes.repeats))
    worst = max(found, key=lambda name: found[name])
    return Result(found[worst], found[worst], found[worst], found, note=worst)
