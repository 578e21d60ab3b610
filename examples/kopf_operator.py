"""A kopf operator whose objects hold allocations: `python -m examples.kopf_operator`.

The handlers are those of an operator; `kopf run -m examples.kopf_operator` would run them in a cluster.  Here a fake
API delivers the objects, as kopf does: a handler is called again until its patch is stored, so each may be repeated
(kopf's documentation, pages "Handlers" and "Error handling").

- The id is `namespace/name/uid`: a repeated handler, of any operator, finds the allocation that stands.
- Full and down are `TemporaryError`, with a delay; what can never fit is a `PermanentError`.
- A timer renews.  Its interval is a third of the time to live, so one that is late loses nothing.
- `on.delete` releases by id, also where no status was stored.  kopf's finalizer keeps the object until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import kopf

from allocator import Allocation, AllocationLost, AsyncAllocator, BackendError, Denial, UnknownAllocation
from allocator.testing import Clock, MemoryStore, faults, memory_allocator
from examples.support import check_books

POOL: Final = "labs"
LABS: Final = ("training.example", "v1", "labs")
TTL_S: Final = 60.0

Handler = Callable[..., Coroutine[Any, Any, None]]


async def connect(memo: kopf.Memo, **_: Any) -> None:
    """One client for the operator; the URL is in the environment of its pod, or here the fake API's."""
    memo.allocator = AsyncAllocator.from_url(memo.get("url"), pool=POOL, owner="lab-operator")


async def disconnect(memo: kopf.Memo, **_: Any) -> None:
    """What is allocated stays so, for the operator that follows."""
    await memo.allocator.close()


async def start(
    memo: kopf.Memo, namespace: str | None, name: str, uid: str, spec: kopf.Spec, patch: kopf.Patch, **_: Any
) -> None:
    """Allocate, and store the allocation in the status."""
    try:
        outcome: Allocation | Denial = await memo.allocator.try_allocate(
            spec["resources"], ttl=TTL_S, id=f"{namespace}/{name}/{uid}"
        )
    except BackendError as error:  # down, recovering, or an unknown outcome: the same call again
        raise kopf.TemporaryError(str(error), delay=error.retry_after or 5) from error
    if isinstance(outcome, Denial):
        patch.status["reason"] = str(outcome)  # stored also where the handler raises
        if outcome.never:
            raise kopf.PermanentError(str(outcome))
        raise kopf.TemporaryError(str(outcome), delay=15)
    patch.status.update(allocation=outcome.to_dict(), reason=None)


async def renew(memo: kopf.Memo, status: kopf.Status, patch: kopf.Patch, **others: Any) -> None:
    """Extend the lease; where it was lost, or there is none yet, allocate."""
    if status.get("allocation"):
        try:
            await memo.allocator.renew(Allocation.from_dict(status["allocation"]))
        except (AllocationLost, UnknownAllocation):
            patch.status["allocation"] = None  # whatever ran under it must stop here
        except BackendError as error:
            raise kopf.TemporaryError(str(error), delay=5) from error
        else:
            return
    await start(memo=memo, patch=patch, **others)


async def stop(memo: kopf.Memo, namespace: str | None, name: str, uid: str, **_: Any) -> None:
    """Release by id: whoever allocated may have died before the status was stored."""
    try:
        await memo.allocator.release(f"{namespace}/{name}/{uid}")
    except BackendError as error:
        raise kopf.TemporaryError(str(error), delay=5) from error


# What `@kopf.on.create(*LABS)` before the function does, without hiding its type.
kopf.on.startup()(connect)
kopf.on.cleanup()(disconnect)
kopf.on.create(*LABS)(start)
kopf.on.resume(*LABS)(start)
kopf.timer(*LABS, interval=TTL_S / 3)(renew)
kopf.on.delete(*LABS)(stop)


class FakeApi:
    """Stands for the API server and for kopf's loop: calls a handler with an object, and stores its patch."""

    def __init__(self, memo: kopf.Memo) -> None:
        self.memo = memo
        self.statuses: dict[str, dict[str, Any]] = {}

    async def deliver(self, handler: Handler, name: str, cpu: str = "2", *, dies: bool = False) -> str:
        """Call the handler; with `dies` the operator is killed before its patch is stored."""
        patch, status = kopf.Patch(), self.statuses.setdefault(name, {})
        spec = {"resources": {"cpu": cpu}}
        known = {"namespace": "labs", "name": name, "uid": f"uid-of-{name}", "spec": spec, "status": status}
        try:
            await handler(memo=self.memo, patch=patch, **known)
        except kopf.TemporaryError as error:
            result = f"again in {error.delay:g} s"
        except kopf.PermanentError:
            result = "failed"
        else:
            result = "done"
        if not dies:
            status.update(patch.get("status", {}))
        return result


async def main() -> None:
    """Play the life of some labs, and check the books."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    with memory_allocator({"cpu": 4}, pool=POOL, store=store) as inspector:
        api = FakeApi(kopf.Memo(url=store.url))
        await connect(memo=api.memo)

        assert await api.deliver(start, "a", dies=True) == "done"
        orphan = inspector.get("labs/a/uid-of-a")
        assert await api.deliver(start, "a") == "done"
        assert orphan is not None
        assert api.statuses["a"]["allocation"]["fence"] == orphan.fence
        print("killed before its status was stored: the next one found the same allocation")

        assert await api.deliver(start, "b") == "done"
        assert await api.deliver(start, "c") == "again in 15 s"
        assert await api.deliver(start, "huge", cpu="64") == "failed"
        with faults(inspector).down():
            assert await api.deliver(start, "c") == await api.deliver(renew, "a") == "again in 5 s"
        assert await api.deliver(renew, "a") == "done"
        print("full: later; never: failed; down: later, and nothing is lost")

        assert await api.deliver(stop, "a") == await api.deliver(stop, "a") == "done"
        assert await api.deliver(start, "c") == "done"
        clock.advance(TTL_S + 1)
        inspector.maintenance.reclaim()
        assert await api.deliver(start, "d") == await api.deliver(renew, "b") == "done"
        assert await api.deliver(renew, "c") == "again in 15 s"
        assert api.statuses["c"]["allocation"] is None
        assert await api.deliver(stop, "d") == await api.deliver(renew, "c") == "done"
        print("no operator for a minute: the leases ended; where there was room, they were allocated anew")

        for name in api.statuses:
            assert await api.deliver(stop, name) == "done"
        await disconnect(memo=api.memo)
        check_books(inspector)
    print("nothing is left")


if __name__ == "__main__":
    asyncio.run(main())
