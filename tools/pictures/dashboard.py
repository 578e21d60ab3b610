"""The pictures of the dashboard: `docs/pictures/dashboard-*.png`, of pools that are always the same.

    python -m tools.pictures.dashboard

It starts a server and a dashboard of its own, fills pools, and takes each view with Chromium at 1280 and 390 pixels.
Only the times in the pictures differ between two runs.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
import sys
import threading
import zlib
from collections import Counter
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
        options: dict[str, Any] = {"owner": owner, "scope": scope, "priority": priority, "id": f"{owner}/{number:04x}"}
        threads.append(threading.Thread(target=_wait, args=(gpu, request, options), daemon=True))
        threads[-1].start()
        wait_until(lambda number=number: gpu.pools.usage().waiting > number, message="a place in line")
    try:
        yield
    finally:
        for one in gpu.queue.list():
            gpu.queue.withdraw(one.id)
        for thread in threads:
            thread.join(60)


def _wait(client: Allocator, request: Any, options: dict[str, Any]) -> None:
    with contextlib.suppress(AllocatorError):
        client.allocate(request, ttl=3600, wait=600, **options)


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
            resources[name] = {
                "allocated": {"quantity": "", "amount": amount},
                "capacity": {"quantity": "", "amount": capacity},
            }
        waits = max(0, round(5 * (wave - 0.74) / 0.1)) if left else usage["waiting"]
        points.append(
            {
                "at": (now - timedelta(seconds=step * left)).isoformat(timespec="seconds").replace("+00:00", "Z"),
                "seconds": step,
                "resources": resources,
                "allocations": 8 + round(6 * wave),
                "waiting": waits,
                "grants": round(3 * wave),
                "denials": waits,
            }
        )
    return {"kind": "UsageHistory", "pool": usage["pool"], "points": points, "since": points[0]["at"]}


# -- the pictures ------------------------------------------------------------------------------------------------------

_EXPLAINED: Final = "cpu=12 memory=64Gi nvidia.com/gpu=4"


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


_READY: Final = {
    "pools": ".card >> nth=3",
    "pool": ".usage-lines",
    "allocations": "tbody tr >> nth=8",
    "line": "tbody tr >> nth=2",
    "quotas": "tbody tr >> nth=5",
    "events": ".log li >> nth=3",
    "explain": ".verdict",
}


_TAKEN: Final = (
    # view, suffix, size, colour scheme, theme
    ("pools", "", WIDE, "light", ""),
    ("pools", "-390", NARROW, "light", ""),
    ("pool", "", WIDE, "light", ""),
    ("pool", "-dark", WIDE, "dark", ""),
    ("pool", "-contrast", WIDE, "dark", "contrast"),
    ("pool", "-390", NARROW, "light", ""),
    ("allocations", "", WIDE, "light", ""),
    ("line", "-390", NARROW, "dark", ""),
    ("quotas", "", WIDE, "light", ""),
    ("events", "-dark", WIDE, "dark", ""),
    ("explain", "", WIDE, "light", ""),
    ("explain", "-390", NARROW, "light", ""),
)


def take(browser: Any, dashboard: DashboardProcess, name: str, size: Any, scheme: str, theme: str) -> bytes:
    """One picture of one view."""
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()

    def answer(route: Any) -> None:
        usage = route.fetch(url=route.request.url.split("/history")[0]).json()
        since = re.search(r"since=(\d+)", route.request.url)
        route.fulfill(json=history(usage, int(since[1]) if since else 86_400))

    page.route("**/history?*", answer)
    page.goto(dashboard.link)
    page.locator(".card").first.wait_for()
    _views("gpu-east")[name](page)
    page.locator(_READY[name]).wait_for()
    if theme:
        page.get_by_label("Theme").select_option(theme)
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    taken: bytes = page.screenshot(full_page=size is NARROW or name == "pool")
    context.close()
    return taken


def shrunk(png: bytes) -> bytes:
    """The same picture with the 256 colours that it has most of, in a third of the bytes."""
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    size = {2: 3, 6: 4}[kind]
    assert depth == 8
    chunks, at = b"", 8
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at : at + 8])
        chunks += png[at + 8 : at + 8 + length] if name == b"IDAT" else b""
        at += 12 + length
    raw = zlib.decompress(chunks)
    stride = width * size
    rows: list[bytes] = []
    before = bytes(stride)
    for row in range(height):
        start = row * (stride + 1)
        before = _unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), before, size)
        rows.append(before)
    pixels = [[row[x : x + 3] for x in range(0, stride, size)] for row in rows]
    counted = Counter(pixel for row in pixels for pixel in row)
    palette = [colour for colour, _ in counted.most_common(256)]
    index = {colour: min(range(len(palette)), key=lambda at: _distance(colour, palette[at])) for colour in counted}
    body = zlib.compress(b"".join(b"\0" + bytes(index[pixel] for pixel in row) for row in pixels), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", b"".join(palette)), (b"IDAT", body), (b"IEND", b""))
    return png[:8] + b"".join(_chunk(name, part) for name, part in parts)


def _distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _unfiltered(kind: int, row: bytearray, before: bytes, size: int) -> bytes:
    """A row of pixels from its differences (PNG, section 9)."""
    for at, value in enumerate(row):
        left = row[at - size] if at >= size else 0
        above = before[at]
        if kind == 1:
            row[at] = (value + left) & 255
        elif kind == 2:
            row[at] = (value + above) & 255
        elif kind == 3:
            row[at] = (value + (left + above) // 2) & 255
        elif kind == 4:
            corner = before[at - size] if at >= size else 0
            guess = left + above - corner
            nearest = min((left, above, corner), key=lambda one: abs(guess - one))
            row[at] = (value + nearest) & 255
    return bytes(row)


def main(only: str = "", folder: Path = PICTURES) -> None:
    """Make the pictures; `only` chooses those whose name begins so."""
    folder.mkdir(parents=True, exist_ok=True)
    with Server() as server, Allocator.from_url(server.url, timeout=30) as client:
        fill(client)
        with waiting(client), DashboardProcess(server.url, "--allow-changes") as dashboard, chromium() as browser:
            for name, suffix, size, scheme, theme in _TAKEN:
                if f"{name}{suffix}".startswith(only):
                    taken = take(browser, dashboard, name, size, scheme, theme)
                    (folder / f"dashboard-{name}{suffix}.png").write_bytes(shrunk(taken))


if __name__ == "__main__":
    main(*sys.argv[1:2])
