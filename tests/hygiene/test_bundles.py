"""The loader: what it refuses, and that a linked text has what its script reaches, line by line of known origin."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import pytest

from allocator._engine import bundles, schema, scripts
from allocator.errors import ContractError
from tests.hygiene.sources import code, lua_modules, read

lua51 = pytest.importorskip("lupa.lua51", reason="the extra `embedded` is not installed")

NAMES: Final = scripts.names()

DEFINITION: Final = re.compile(r"^(?:rare\.)?([a-z]+_\w+) = ", re.MULTILINE)
"""Of the linked text: functions and constants, `module_name`, in the first column."""

ROOTS: Final = ("main_main", "context_open")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write modules and a script, whose path is given."""

    def write(script: str, **modules: str) -> Path:
        (tmp_path / "modules").mkdir()
        context = "local context = {}\nfunction context.open(keys, argv)\n  return {keys = keys, argv = argv}\nend\n"
        for name, text in {"context": f"{context}return context\n", **modules}.items():
            (tmp_path / "modules" / f"{name}.lua").write_text(text, encoding="utf-8")
        path = tmp_path / "scripts" / "odd" / "odd.lua"
        path.parent.mkdir(parents=True)
        path.write_text(script, encoding="utf-8")
        return path

    return write


def _module(name: str, body: str, *required: str) -> str:
    requires = "".join(f"local {other} = require('{other}')\n" for other in required)
    return f"{requires}local {name} = {{}}\n{body}\nreturn {name}\n"


def _script(body: str, *required: str) -> str:
    requires = "".join(f"local {other} = require('{other}')\n" for other in required)
    return f"{requires}return function(call)\n  {body}\nend\n"


def _link(path: Path) -> str:
    return "\n".join(line for line, _, _ in bundles.link(path.parents[2], path, {"KNOWN": 7}))


# -- refused -----------------------------------------------------------------------------------------------------------


def test_a_cycle_of_modules_is_refused_and_the_way_around_it_is_said(write: Write) -> None:
    """Whichever came first would see the other half made."""
    path = write(
        _script("return one.f()", "one"),
        one=_module("one", "function one.f()\n  return two.f()\nend", "two"),
        two=_module("two", "function two.f()\n  return one.f()\nend", "one"),
    )
    with pytest.raises(ContractError, match="odd -> one -> two -> one"):
        _link(path)


def test_a_function_that_is_not_defined_is_refused_by_name(write: Write) -> None:
    """Rather than called as nil in production."""
    path = write(_script("return one.g()", "one"), one=_module("one", "function one.f()\n  return 1\nend"))
    with pytest.raises(ContractError, match=r"one\.g is not defined"):
        _link(path)


def test_a_name_that_is_defined_twice_is_refused_with_its_file(write: Write) -> None:
    """The later one would stand, in silence."""
    twice = "function one.f()\n  return 1\nend\n\nlocal function f()\n  return 2\nend"
    path = write(_script("return one.f()", "one"), one=_module("one", twice))
    with pytest.raises(ContractError, match=r"modules/one\.lua: a name is defined twice"):
        _link(path)


def test_a_limit_that_is_not_declared_is_refused_by_name(write: Write) -> None:
    """Rather than read as nil by the in-process store."""
    assert "return 7" in _link(write(_script("return limits.KNOWN", "limits")))
    with pytest.raises(ContractError, match=r"limits\.[A-Z_]+ is not defined"):
        bundles.link(scripts.folder(), scripts.files()["release"], {"KNOWN": 7})


@pytest.mark.parametrize("statement", ["redis.call('PING')", "two.f = 1", "if true then", "one.f()", "x = 1"])
def test_a_statement_at_the_top_level_is_refused_with_its_line(write: Write, statement: str) -> None:
    """It would run in no order that anybody could see."""
    module = _module("one", f"function one.f()\n  return 1\nend\n\n{statement}")
    path = write(_script("return one.f()", "one"), one=module)
    with pytest.raises(ContractError, match=r"modules/one\.lua:6: at the top level a file only defines"):
        _link(path)


# -- the text ----------------------------------------------------------------------------------------------------------


def _linked(name: str, ordinary: Collection[str] | None) -> str:
    """The text of a script where other functions are ordinary; None: all."""
    lines = bundles.link(scripts.folder(), scripts.files()[name], schema.LIMITS, ordinary)
    return "\n".join(line for line, _, _ in lines)


def _defined(text: str) -> dict[str, str]:
    """Each definition of a linked text, and its own lines."""
    found = list(DEFINITION.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {match[1]: text[match.end() : end] for match, end in zip(found, ends, strict=True)}


def _reached(defined: dict[str, str]) -> set[str]:
    """What is named from the last line on, by way of what names what."""
    found: set[str] = set()
    left = list(ROOTS)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [word for word in re.findall(r"[a-z]+_\w+", defined[name]) if word in defined]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_text_holds_what_its_script_reaches_and_nothing_else(name: str) -> None:
    """Redis runs the whole text on every call: what is not needed costs time."""
    defined = _defined(scripts.load(name).text)
    assert _reached(defined) == defined.keys()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_a_text_are_defined_in_it_and_locals_are_declared(name: str) -> None:
    """A rare function stands in its table, an ordinary one in the first line, and each is called where it stands."""
    text = scripts.load(name).text
    lines = text.splitlines()
    declared = set(lines[1].removeprefix("local ").split(", "))
    plain = set(re.findall(r"^([a-z]+_\w+) = ", text, re.MULTILINE))
    rare = set(re.findall(r"^rare\.([a-z]+_\w+) = ", text, re.MULTILINE))
    assert declared == plain
    assert not plain & rare
    assert set(re.findall(r"\brare\.([a-z]+_\w+)", text)) <= rare
    assert not re.search(r"limits\.[A-Z]|@|\brequire\b", text)
    assert re.findall(r"\b(?:KEYS|ARGV)\b", text) == re.findall(r"\b(?:KEYS|ARGV)\b", lines[-1]) == ["KEYS", "ARGV"]


def test_every_function_of_a_module_is_reached_by_a_script() -> None:
    """What none of them reaches is dead."""
    reached = {name for script in NAMES for name in _defined(scripts.load(script).text)}
    functions = {
        f"{path.stem}_{name}"
        for path in lua_modules()
        for name in re.findall(rf"^(?:local )?function (?:{path.stem}\.)?(\w+)\(", code(read(path)), re.MULTILINE)
    }
    assert functions - reached == set()


@pytest.mark.parametrize("name", NAMES)
def test_both_texts_compile_as_lua_5_1(name: str) -> None:
    """As servers read it, and as the in-process store does."""
    script = scripts.load(name)
    runtime = lua51.LuaRuntime()
    for text in (script.text.removeprefix("#!lua").partition("\n")[2], script.memory_text):
        assert runtime.compile(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_no_longer_than_what_a_server_keeps_at_ease(name: str) -> None:
    """Sixty kilobytes: it is sent whole where a server does not know it yet."""
    assert len(scripts.load(name).text) < 60_000


def test_what_is_said_to_be_ordinary_is_a_function_of_the_script() -> None:
    """Names that a file has lost would be locals no longer, in silence."""
    assert set(scripts.ordinary()) <= set(NAMES)
    for name, functions in scripts.ordinary().items():
        assert {function.replace(".", "_", 1) for function in functions} <= _defined(_linked(name, None)).keys(), name


# -- origins -----------------------------------------------------------------------------------------------------------


def _shape(line: str) -> str:
    """A line without names, literals and spaces."""
    return re.sub(r"'[^']*'|[\w.\s]", "", line)


@pytest.mark.parametrize("name", NAMES)
def test_each_line_of_a_text_knows_the_line_that_a_person_edits(name: str) -> None:
    """Brackets, operators and commas are the same there."""
    script = scripts.load(name)
    lines = script.text.splitlines()
    assert len(lines) == len(script.origins)
    checked = 0
    for line, (file, number) in zip(lines, script.origins, strict=True):
        if "/" in file and not DEFINITION.match(line):
            source = read(scripts.folder() / file).splitlines()[number - 1]
            assert _shape(line) == _shape(code(source)), (line, file, number)
            checked += 1
    assert checked > 0


def test_an_error_is_mapped_back_to_the_file_that_a_person_edits() -> None:
    """Line numbers of the linked text mean nothing to anybody."""
    script = scripts.load("release")
    line = script.text.splitlines().index("numbers_exact = function(text)")
    source = read(scripts.folder() / "modules" / "numbers.lua").splitlines()
    number = source.index("function numbers.exact(text)") + 1
    located = script.locate(f"ERR user_script:{line + 1}: oops, and user_script:99999: beyond")
    assert located == f"ERR modules/numbers.lua:{number}: oops, and user_script:99999: beyond"


def test_a_linked_text_does_not_depend_on_which_functions_are_ordinary() -> None:
    """`ordinary.txt` moves functions; it changes none."""
    for name in NAMES:
        assert _defined(_linked(name, None)).keys() == _defined(_linked(name, ())).keys(), name
