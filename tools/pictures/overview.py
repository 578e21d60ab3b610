"""What the project is: replicas, the script, and what is stored."""

from __future__ import annotations

from tools.pictures.canvas import Drawing
from tools.pictures.drawn import write

TITLE = "Three replicas share one pool in Redis"
DESCRIPTION = (
    "Three replicas call scripts in Redis or Valkey: allocate, renew, release. A script asks whether there is room for "
    "all of a request. If so it charges the counters, records the allocation and replies a fence; if not it changes "
    "nothing and replies by how much the request is short. The pool has counters and records with owners and deadlines."
)


def draw() -> str:
    """The picture."""
    picture = Drawing(920, 400, TITLE, DESCRIPTION)
    for at in range(3):
        picture.titled(30, 50 + at * 110, 170, 80, [f"replica {at + 1}", "no leader, no lock"], "blue")
    picture.arrow((200, 90), (345, 170), both=True)
    picture.arrow((200, 200), (345, 200), both=True)
    picture.arrow((200, 310), (345, 230), both=True)
    picture.label(272, 186, "allocate  renew")
    picture.label(272, 220, "release")

    picture.box(350, 30, 540, 340)
    picture.text(370, 56, "Redis or Valkey", "head")
    picture.box(370, 76, 225, 272, "amber")
    picture.text(386, 102, "one script, all or nothing", "head")
    picture.text(386, 136, "Is there room for all of it,")
    picture.text(386, 155, "at each limit?")
    picture.text(386, 192, "yes", "head")
    for at, line in enumerate(("charge the counters,", "record the allocation,", "reply a fence")):
        picture.text(426, 192 + at * 19, line)
    picture.text(386, 266, "no", "head")
    for at, line in enumerate(("change nothing,", "reply by how much", "it is short")):
        picture.text(426, 266 + at * 19, line)

    picture.arrow((595, 140), (640, 140))
    picture.arrow((595, 270), (640, 270))
    picture.box(645, 76, 225, 118, "green")
    picture.text(661, 102, "counters", "head")
    for at, line in enumerate(("cpu      4 of 32", "memory 8Gi of 128Gi", "gpu      1 of 8")):
        picture.text(661, 128 + at * 20, line, "code")
    picture.box(645, 210, 225, 138, "green")
    picture.text(661, 236, "records", "head")
    for at, line in enumerate(
        ("lab-42   cpu 2", "  replica 1, ends in 41 s", "lab-43   cpu 2, gpu 1", "  replica 3, ends in 58 s")
    ):
        picture.text(661, 262 + at * 20, line, "code")
    return picture.svg()


def main() -> None:
    """Write it."""
    write("overview", draw())
