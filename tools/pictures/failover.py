"""A failover that loses a grant: how a pool with a recovery grace notices, and who waits for whom."""

from __future__ import annotations

from typing import Final

from tools.pictures.canvas import Drawing
from tools.pictures.drawn import write

TITLE = "A failover that loses a grant"
DESCRIPTION = (
    "Four lanes over time: a holder, a newcomer, the old primary, the new primary. The holder is granted 4 of 4 cpu by "
    "the old primary, which dies before it has replicated the grant. The new primary notices another run id and "
    "refuses the newcomer with Recovering. The holder renews, the record is missing, and it is adopted with the same "
    "fence. After the grace the newcomer is denied with the numbers, so nothing is granted twice."
)

LANES: Final = {"holder": 110, "newcomer": 300, "old primary": 560, "new primary": 780}


def draw() -> str:
    """The picture."""
    picture = Drawing(900, 620, TITLE, DESCRIPTION)
    picture.box(668, 190, 212, 292, "amber")
    picture.text(788, 440, "recovering,", "small")
    picture.text(788, 456, "for the grace", "small")
    for name, x in LANES.items():
        picture.titled(x - 75, 24, 150, 40, [name], "blue" if x < 400 else "green")
    for name, end in (("holder", 600), ("newcomer", 600), ("old primary", 160), ("new primary", 600)):
        picture.arrow((LANES[name], 64), (LANES[name], end), dashed=True, tip=False)
    holder, newcomer, old, new = LANES.values()

    _message(picture, holder, old, 100, "allocate 4 of 4 cpu, ttl 30 s")
    _message(picture, old, holder, 132, "granted, fence 17")
    picture.titled(old - 80, 160, 160, 46, ["dies", "before it has replicated"], "red")
    picture.titled(new - 100, 208, 182, 46, ["becomes the primary", "no record, another run id"], "plain")

    _message(picture, newcomer, new, 300, "allocate 2 cpu")
    _message(picture, new, newcomer, 332, "Recovering, retry_after 20 s")
    _message(picture, holder, new, 376, "renew, fence 17")
    _message(picture, new, holder, 408, "missing")
    _message(picture, holder, new, 440, "adopt")
    _message(picture, new, holder, 468, "recorded again, fence 17")

    _message(picture, newcomer, new, 520, "allocate 2 cpu, after the grace")
    _message(picture, new, newcomer, 552, "denied: requested 2, available 0")
    picture.text(holder, 588, "has kept its room", "small soft middle label")
    picture.text(newcomer, 588, "was never granted it", "small soft middle label")
    return picture.svg()


def _message(picture: Drawing, begin: int, end: int, y: int, text: str) -> None:
    step = 6 if end > begin else -6
    picture.arrow((begin + step, y), (end - step, y))
    picture.label((begin + end) // 2, y - 5, text)


def main() -> None:
    """Write it."""
    write("failover", draw())
