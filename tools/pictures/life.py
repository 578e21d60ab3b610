"""The life of an allocation: its states, and what leads from one to another."""

from __future__ import annotations

from tools.pictures.canvas import Drawing
from tools.pictures.drawn import write

TITLE = "The life of an allocation"
DESCRIPTION = (
    "A request is granted, denied with the numbers, or waits in line. A granted allocation is live; renew moves its "
    "deadline. It is due once its deadline has passed, and its amounts stay charged until a request needs the room or "
    "the cron job reclaims it; a renewal before that makes it live again. begin_release keeps the charge for a grace. "
    "A request of higher priority preempts it, with a grace. Each way ends in ended: the amounts are given back, once. "
    "After a loss of data a live allocation may be missing, and its holder adopts it."
)


def draw() -> str:
    """The picture."""
    picture = Drawing(1100, 570, TITLE, DESCRIPTION)
    picture.titled(60, 168, 150, 64, ["request", "allocate, hold"], "blue")
    picture.titled(60, 320, 150, 64, ["waits in line", "wait="], "amber")
    picture.titled(60, 472, 150, 64, ["denied", "the numbers"], "red")
    picture.titled(340, 150, 190, 100, ["live", "charged, recorded,", "with fence and deadline"], "green")
    picture.titled(340, 472, 190, 64, ["missing", "the store has lost it"], "red")
    picture.titled(660, 60, 180, 64, ["releasing", "still charged"], "green")
    picture.titled(660, 160, 180, 84, ["due", "charged until somebody", "needs it, or the cron job"], "amber")
    picture.titled(660, 290, 180, 64, ["preempted", "charged for its grace"], "amber")
    picture.titled(940, 168, 140, 64, ["ended", "given back, once"], "plain")
    _before(picture)
    _after(picture)
    return picture.svg()


def _before(picture: Drawing) -> None:
    """What becomes of a request."""
    picture.arrow((210, 200), (335, 200))
    picture.label(272, 192, "it fits")
    picture.arrow((135, 232), (135, 315))
    picture.label(144, 270, "it does not fit,", "with wait", style="")
    picture.arrow((210, 340), (335, 240))
    picture.label(286, 312, "room is freed:", "granted in order", style="")
    picture.arrow((135, 384), (135, 467))
    picture.label(144, 430, "the wait is over", style="")
    picture.path("M60 210 C16 250 16 460 55 500")
    picture.label(36, 430, "without wait", style="")


def _after(picture: Drawing) -> None:
    """What becomes of a grant."""
    picture.path("M360 150 C360 100 420 100 420 145")
    picture.label(390, 104, "renew")
    picture.arrow((480, 150), (480, 28), (1010, 28), (1010, 163))
    picture.label(750, 32, "release")
    picture.arrow((530, 165), (655, 100))
    picture.label(586, 128, "begin_release")
    picture.arrow((530, 192), (655, 192))
    picture.label(592, 186, "deadline passes")
    picture.arrow((655, 216), (535, 216))
    picture.label(592, 231, "renew")
    picture.arrow((530, 240), (655, 316))
    picture.label(588, 318, "a higher priority", "takes its room")
    picture.arrow((840, 96), (935, 182))
    picture.label(896, 108, "release, or the", "grace is over", style="")
    picture.arrow((840, 200), (935, 200))
    picture.label(886, 193, "reclaimed")
    picture.arrow((840, 320), (935, 220))
    picture.label(900, 290, "release, or the", "grace is over", style="")
    picture.arrow((424, 250), (424, 467), dashed=True)
    picture.label(416, 425, "failover,", "restart, restore", style="end")
    picture.arrow((476, 472), (476, 255), dashed=True)
    picture.label(485, 425, "its holder renews: adopted", "with the same fence", style="")


def main() -> None:
    """Write it."""
    write("life", draw())
