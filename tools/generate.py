"""Write the files that are generated and committed: `python -m tools.generate`; with `--check`, only compare.

`lua/modules/limits.lua`   the bounds that the scripts share, out of `allocator.settings`
`allocator/_sync/`          the blocking surface, out of the awaited one (`tools/blocking.py`)
`lua/ordinary.txt`         the functions on the ordinary way of each script, found by going it (in the in-process store)
`docs/architecture.md`     the picture of the floors, out of the imports (`tools/floors.py`)
`docs/reference/`          the reference, out of docstrings, headers, settings and commands (`tools/reference`)
`docs/pictures/`           the pictures that are drawn, and the page of the others (`tools/pictures`)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import fakeredis

from allocator._engine.protocol import linker, schema, scripts
from tests.scripts.ledger import Ledger
from tests.scripts.ordinary import OF_FOUR, OF_SCOPE, OTHER_WAYS, WAYS, Way, prepare
from tools import floors, reference
from tools.blocking import blocking
from tools.pictures import drawn, gallery

ROOT: Final = Path(__file__).parents[1]


def limits() -> str:
    """The module of bounds."""
    lines = ["-- limits: the bounds that the scripts share; generated from allocator/settings.py by tools/generate.py."]
    lines += ["local limits = {}", ""]
    lines += [f"limits.{name} = {value}" for name, value in sorted(schema.LIMITS.items())]
    return "\n".join([*lines, "", "return limits", ""])


def ordinary() -> str:
    """The functions that run, script by script."""
    lines = [
        "# The functions on the ordinary way of each script, NAME+: on its other usual ones; by tools/generate.py."
    ]
    for name in scripts.names():
        if name in WAYS:
            usual = set(_trace(name, WAYS[name]))
            lines.append(f"{name}: {' '.join(sorted(usual))}")
            ways = [*OTHER_WAYS.get(name, ()), *(more[name] for more in (OF_FOUR, OF_SCOPE) if name in more)]
            others = {key for way in ways for key in _trace(name, way)} - usual
            if others:
                lines.append(f"{name}+: {' '.join(sorted(others))}")
    return "\n".join([*lines, ""])


def _trace(name: str, way: Way) -> Iterator[str]:
    """Go the way once, and say which functions of the script were called."""
    client: Any = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,)), decode_responses=True)
    ledger = Ledger(client, memory=True)
    prepare(ledger)
    way.before(ledger)
    send = ledger.send

    def traced(_text: str, keys: Any, words: Any, *, client: Any = None) -> Any:
        found = send(_tracing(name), keys, words, client=client)
        seen.update(found)
        return [[way.word]]

    seen: set[str] = set()
    ledger.send = traced  # type: ignore[method-assign]
    way.act(ledger)
    yield from (key.replace("_", ".", 1) for key in seen)


def _tracing(name: str) -> str:
    """The script's text, answering with the names of the functions that were called."""
    pieces = linker.link(scripts.folder(), scripts.files()[name], schema.LIMITS, inlines=False)
    lines = [line for line, _, _ in pieces]
    trace = """
local seen, names, make = {}, {}, rare
rare = function(name)
  if not seen[name] then
    seen[name] = true
    names[#names + 1] = name
  end
  return make(name)
end
rare('main_main')(rare('context_open')(KEYS, ARGV))
return names
"""
    return "\n".join([*lines[:-2], trace])


def generated() -> dict[Path, str]:
    """Each generated file, as its source says that it should be."""
    modules = {ROOT / "lua" / "modules" / "limits.lua": limits(), ROOT / "lua" / "ordinary.txt": ordinary()}
    documents = {
        floors.DOCUMENT: floors.document(),
        **reference.pages(),
        **drawn.pictures(),
        gallery.PAGE: gallery.page(),
    }
    return {**modules, **blocking(ROOT), **documents}


def main() -> int:
    """Write, or compare and say what differs."""
    check, differ = "--check" in sys.argv[1:], []
    for path, text in generated().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            differ.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for name in differ:
        print(f"{name} {'is not what its source says: python -m tools.generate' if check else 'written'}")
    return int(check and bool(differ))


if __name__ == "__main__":
    sys.exit(main())
