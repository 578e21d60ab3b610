"""The pictures of the dashboard: `docs/pictures/dashboard-*.png`, of pools that are always the same.

    python -m tools.pictures.dashboard

It starts a server and a dashboard of its own, fills pools, and takes each view with Chromium at 1280 and 390 pixels.
Only the times in the pictures differ between two runs.
"""

from __future__ import annotations

import contextlib
import math
import re
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from allocator import Allocator, Limit
from allocator.errors import AllocatorError
from tests.support.browsing import DashboardProcess, chromium
from tests.support.servers import Server
from tests.support.waiting import wait_until

__all__ = ["fill", "main"]

PICTURES: Final = Path(__file__).resolve().parents[2] / "docs" / "pictures"

WIDE: Final = {"width": 1280, "height": 900}
NARROW: Final = {"width": 390, "height": 844}

# -- the pools ---------------------------------------------------------------------------------------------------------

_HOLDERS: Final = (
    # owner, scope, resources, seconds to live, seconds to the hard end
    ("train/vision-large", "research/vision", {"cpu": 24, "memory": "192Gi", "nvidia.com/gpu": 8}, 2400, 5400),
    ("train/speech-base", "research/speech", {"cpu": 16, "memory": "96Gi", "nvidia.com/gpu": 4}, 1500, 2700),
    ("train/llm-distil", "research/language", {"cpu": 32, "memory": "256Gi", "nvidia.com/gpu": 12}, 3300, 7200),
    ("serve/embeddings", "serving", {"cpu": 8, "memory": "48Gi", "nvidia.com/gpu": 2}, None, None),
    ("serve/rerank", "serving", {"cpu": 6, "memory": "32Gi", "nvidia.com/gpu": 1}, None, None),
    ("notebook/ada", "research/vision", {"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 1}, 600, 3600),
    ("notebook/grace", "research/language", {"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 1}, 900, 3600),
    ("eval/nightly-417", "platform", {"cpu": 10, "memory": "64Gi"}, 1100, None),
    ("eval/nightly-418", "platform", {"cpu": 10, "memory": "64Gi"}, 2000, None),
    ("build/images", "platform", {"cpu": 6, "memory": "12500Mi"}, 420, None),
)

_WAITERS: Final = (
    ("train/vision-xl", "research/vision", {"cpu": 32, "memory": "256Gi", "nvidia.com/gpu": 8}, 100),
    ("train/speech-large", "research/speech", {"cpu": 24, "memory": "128Gi", "nvidia.com/gpu": 6}, 10),
    ("notebook/alan", "research/language", {"cpu": 4, "memory": "16Gi", "nvidia.com/gpu": 4}, 0),
)


def fill(client: Allocator) -> None:
    """Four pools: one nearly full with a line and quotas, one full, one at ease, one empty."""
    gpu = client.options(pool="gpu-east")
    gpu.pools.create("gpu-east", {"cpu": 128, "memory": "1Ti", "nvidia.com/gpu": 32})
    for scope, limits in (
        ("research", {"nvidia.com/gpu": Limit(24, 6, 8), "cpu": 96}),
        ("research/vision", {"nvidia.com/gpu": Limit(8, 4, 4)}),
        ("research/speech", {"nvidia.com/gpu": Limit(8, 4, 2)}),
        ("research/language", {"nvidia.com/gpu": Limit(8, 8, 4)}),
        ("serving", {"nvidia.com/gpu": Limit(6, 0, 2)}),
        ("platform", {"nvidia.com/gpu": Limit(2, 2), "cpu": 48}),
    ):
        gpu.quotas.set(scope, limits)
    for number, (owner, scope, request, ttl, lifetime) in enumerate(_HOLDERS):
        name = {"id": f"{owner}/{number:04x}", "owner": owner, "scope": scope, "metadata": {"image": "trainer:2.4"}}
        gpu.allocate(request, ttl=ttl, max_lifetime=lifetime, **name)
    ci = client.options(pool="ci-runners")
    ci.pools.create("ci-runners", {"cpu": 32, "memory": "128Gi"})
    for number in range(16):
        ci.allocate({"cpu": 2, "memory": "6Gi"}, ttl=300 + 60 * number, owner=f"pipeline/{4100 + number}")
    batch = client.options(pool="batch-west")
    batch.pools.create("batch-west", {"cpu": 256, "memory": "2Ti", "ephemeral-storage": "40Ti"})
    for number in range(9):
        request = {"cpu": 12, "memory": "96Gi", "ephemeral-storage": "2Ti"}
        batch.allocate(request, ttl=1800 + 240 * number, owner=f"etl/step-{number}")
    client.options(pool="staging").pools.create("staging", {"cpu": 16, "memory": "64Gi"})


@contextlib.contextmanager
def waiting(client: Allocator) -> Iterator[None]:
    """Three requests in the line of the first pool, for as long as the block lasts."""
    gpu = client.options(pool="gpu-east", timeout=30)
    threads: list[threading.Thread] = []
    for number, (owner, scope, request, priority) in enumerate(_WAITERS):

        def wait(number: int = number, owner: str = owner, scope: str = scope, request: Any = request, priority: int = priority) -> None:
            with contextlib.suppress(AllocatorError):
                gpu.allocate(request, ttl=3600, wait=600, id=f"{owner}/{number:04x}", owner=owner, scope=scope, priority=priority)

        threads.append(threading.Thread(target=wait, daemon=True))
        threads[-1].start()
        wait_until(lambda number=number: gpu.pools.usage().waiting > number, message="a place in line")
    try:
        yield
    finally:
        for one in gpu.queue.list():
            gpu.queue.withdraw(one.id)
        for thread in threads:
            thread.join(10)


def history(usage: dict[str, Any], since_s: int) -> dict[str, Any]:
    """A day of a pool that ends with this usage: waves of work, the same in each run."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    step = 60 if since_s <= 21_600 else 300
    count = min(since_s, 86_400) // step
    points: list[dict[str, Any]] = []
    for number in range(count):
        left = count - 1 - number
        hour = (number / count) * 24
        wave = 0.62 + 0.22 * math.sin((hour - 3) / 24 * 2 * math.pi) + 0.06 * math.sin(hour * 2.6)
        resources: dict[str, Any] = {}
        for index, (name, row) in enumerate(usage["resources"].items()):
            capacity, last = row["capacity"]["amount"], row["allocated"]["amount"]
            unit = max(1, capacity // 32)
            level = capacity * min(1.0, max(0.05, wave + 0.07 * math.sin(hour * (1.1 + index) + index)))
            blend = min(1.0, left / 30)
            amount = int(level * blend + last * (1 - blend)) // unit * unit if left else last
            resources[name] = {"allocated": {"quantity": "", "amount": amount}, "capacity": {"quantity": "", "amount": capacity}}
        waits = max(0, round(5 * (wave - 0.74) / 0.1)) if left else usage["waiting"]
        points.append({
            "at": (now - timedelta(seconds=step * left)).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "seconds": step, "resources": resources, "allocations": 8 + round(6 * wave), "waiting": waits,
            "grants": round(3 * wave), "denials": waits,
        })
    return {"kind": "UsageHistory", "pool": usage["pool"], "points": points, "since": points[0]["at"]}


# -- the pictures ------------------------------------------------------------------------------------------------------

_EXPLAINED: Final = "cpu=32 memory=512Gi nvidia.com/gpu=16"


def _views(pool: str) -> dict[str, Callable[[Any], None]]:
    def go(rest: str) -> Callable[[Any], None]:
        return lambda page: page.evaluate("rest => { location.hash = rest }", rest)

    def explained(page: Any) -> None:
        go(f"#/pools/{pool}/explain")(page)
        page.get_by_role("textbox", name="Request").fill(_EXPLAINED)
        page.get_by_label("Scope").fill("research/speech")
        page.get_by_role("button", name="Explain").click()
        page.locator(".verdict").wait_for()

    views = {"pools": go("#/"), "pool": go(f"#/pools/{pool}")}
    views |= {name: go(f"#/pools/{pool}/{name}") for name in ("allocations", "line", "quotas", "events")}
    return {**views, "explain": explained}


_READY: Final = {"pools": ".card >> nth=3", "pool": ".usage-lines", "allocations": "tbody tr >> nth=8", "line": "tbody tr >> nth=2", "quotas": "tbody tr >> nth=5", "events": ".log li >> nth=3", "explain": ".verdict"}


def take(browser: Any, dashboard: DashboardProcess, name: str, view: Callable[[Any], None], out: Path, *, size: Any, scheme: str, theme: str = "") -> None:
    """One picture of one view."""
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", device_scale_factor=1)
    page = context.new_page()

    def answer(route: Any) -> None:
        headers = {"Authorization": f"Bearer {dashboard.token}"}
        pool = route.request.url.split("/pools/")[1].split("/")[0]
        usage = page.request.get(f"{dashboard.address}/api/v1/pools/{pool}", headers=headers).json()
        since = int(re.search(r"since=(\d+)", route.request.url)[1])  # type: ignore[index]
        route.fulfill(json=history(usage, since))

    page.route("**/history?*", answer)
    page.goto(dashboard.link)
    page.locator(".card").first.wait_for()
    view(page)
    page.locator(_READY[name]).wait_for()
    if theme:
        page.get_by_label("Theme").select_option(theme)
    page.wait_for_timeout(300)
    page.screenshot(path=out, full_page=size is NARROW or name == "pool")
    context.close()


def main(only: str = "", folder: Path = PICTURES) -> None:
    """Make the pictures; `only` chooses those whose name begins so."""
    folder.mkdir(parents=True, exist_ok=True)
    with Server() as server, Allocator.from_url(server.url) as client:
        fill(client)
        with waiting(client), DashboardProcess(server.url, "--allow-changes") as dashboard, chromium() as browser:
            for name, view in _views("gpu-east").items():
                for label, size, scheme, theme in (("", WIDE, "light", ""), ("-dark", WIDE, "dark", ""), ("-390", NARROW, "light", ""), ("-contrast", WIDE, "dark", "contrast")):
                    if f"{name}{label}".startswith(only):
                        take(browser, dashboard, name, view, folder / f"dashboard-{name}{label}.png", size=size, scheme=scheme, theme=theme)


if __name__ == "__main__":
    main(*sys.argv[1:2])
