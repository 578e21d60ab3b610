"""The floors of the house, from the contract in pyproject.toml: each imports only what is below it."""

from __future__ import annotations

from typing import Final

from tools import floors
from tools.pictures.canvas import Drawing
from tools.pictures.drawn import write

TITLE = "The floors of the package"

SAID: Final = {
    "apps": "programs, such as the command line",
    "testing": "what users test with",
    "metrics": "beside the clients",
    "_sync": "the public methods, one statement each",
    "_base": "what both clients share",
    "leases": "keep the leases of this process",
    "execution": "retries, batches, undo",
    "transport": "arguments in, reply out  /  connections",
    "protocol": "scripts, keys, bytes  /  server processes",
    "models": "what methods take and return",
    "durability": "levels of durability",
    "resources": "errors, vectors of amounts",
    "denials": "refusals in numbers",
    "validation": "what a caller may write",
    "quantity": "from text to an exact integer",
    "settings": "bounds, units, the environment",
}
"""A room -> what its floor is for."""

WIDTH: Final = 880
FLOOR: Final = 34


def draw() -> str:
    """The picture."""
    stack = [floor for floor in floors.floors() if floor != [f"{floors.PACKAGE}.__main__"]]
    names = [[room.rpartition(".")[2] if room != floors.PACKAGE else "public names" for room in one] for one in stack]
    described = "; ".join(", ".join(one) for one in names)
    height = 110 + len(stack) * FLOOR + 74
    picture = Drawing(
        WIDTH + 40, height, TITLE, f"From top to bottom: {described}; below all, Lua scripts in the server."
    )
    picture.text(28, 38, "allocator/", "head")
    picture.text(110, 38, "a floor imports only floors below it; a test keeps that", "small soft")
    y = 56
    for rooms, floor in zip(names, stack, strict=True):
        inside = floor[0].startswith(f"{floors.PACKAGE}._engine")
        color = "blue" if inside else "plain" if rooms != ["public names"] else "green"
        picture.box(28, y, 540, FLOOR - 5, color)
        picture.text(44, y + 19, "   ".join(rooms), "code")
        said = next((SAID[room] for room in rooms if room in SAID), "")
        said = "what programs import" if rooms == ["public names"] else said
        picture.text(590, y + 19, said, "small soft")
        y += FLOOR
    picture.arrow((298, y), (298, y + 40))
    picture.label(310, y + 24, "EVALSHA", style="")
    picture.titled(
        28,
        y + 46,
        540,
        60,
        ["lua/scripts/NOUN/VERB.lua", "one verb, decided and applied as a whole by the server"],
        "amber",
    )
    picture.text(590, y + 82, "lua/modules: what scripts share", "small soft")
    return picture.svg()


def main() -> None:
    """Write it."""
    write("floors", draw())
