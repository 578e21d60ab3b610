"""The loader: what it refuses, and that a linked text has what its script reaches, line by line of known origin."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from allocator._engine.protocol import linker, schema, scripts
from allocator._engine.protocol.linker import Line
from allocator.errors import ContractError
from tests.rules.sources import code, lua_files, lua_modules, read
from tests.support.tools import needs

lua51 = pytest.importorskip("lupa.lua51", reason="the extra `embedded` is not installed")

NAMES: Final = scripts.names()

RESTS: Final = re.compile(r"(local |return )?function\b.*| *(end|else|[})]+)| *return\b[^(]*|(local \w+|\w+\.\w+) = .*")
"""Lines that need not be in a text, though their function is."""

ALIAS: Final = "local redis_call = redis.call"

MADE: Final = "known ="
"""The line before a function that is made when it is first called."""

ASKED: Final = re.compile(r"if name == '(\w+)' then known =")
"""Of the text of functions: what comes next is the definition of this name."""

CONSTANT: Final = re.compile(r"^(?:local \w+|\w+\.\w+) = (?=\S)")

BOUND: Final = re.compile(r"\bdo local [\w, ]+?(?= =|\s*$| repeat| do)|\bresult\d+_\d+\b|\brare\(\d+\)")
"""Parameters that are bound and results that are handed on, where a function stands in the place of its call."""

PLACING: Final = {"local", "do", "repeat", "until", "true", "end", "break", "nil", "_", "redis_call"}

WORD: Final = re.compile(r"'[^']*'|[A-Za-z_]\w*|\d[\w.]*")

LITERALS: Final = {str(value) for value in schema.LIMITS.values()} | {
    literal
    for path in lua_files()
    for literal in re.findall(r"^(?:local \w+|\w+\.\w+) = (-?\d[\w.]*|'[^']*')$", code(read(path)), re.MULTILINE)
}
"""What constants stand for."""

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
    root = path.parents[2]
    script = path.relative_to(root).as_posix()
    return "\n".join(line for line, _, _ in linker.link(root, script, {"KNOWN": 7}))


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
    assert "result2_1 = 7\n" in _link(write(_script("return limits.KNOWN", "limits")))
    with pytest.raises(ContractError, match=r"limits\.[A-Z_]+ is not defined"):
        linker.link(scripts.folder(), scripts.files()["release"], {"KNOWN": 7})


@pytest.mark.parametrize("statement", ["redis.call('PING')", "two.f = 1", "if true then", "one.f()", "x = 1"])
def test_a_statement_at_the_top_level_is_refused_with_its_line(write: Write, statement: str) -> None:
    """It would run in no order that anybody could see."""
    module = _module("one", f"function one.f()\n  return 1\nend\n\n{statement}")
    path = write(_script("return one.f()", "one"), one=module)
    with pytest.raises(ContractError, match=r"modules/one\.lua:6: at the top level a file only defines"):
        _link(path)


# -- the text ----------------------------------------------------------------------------------------------------------


@cache
def _whole(name: str) -> tuple[Line, ...]:
    """The script with each function that it reaches, none of them put elsewhere."""
    return tuple(linker.link(scripts.folder(), scripts.files()[name], schema.LIMITS, inlines=False))


@cache
def _bodies(name: str) -> dict[str, str]:
    """Each of those definitions, `module_name`, and its lines."""
    found: dict[str, list[str]] = {}
    for line, file, _ in _whole(name):
        if "/" in file:
            found[next(reversed(found))].append(line)
        elif match := ASKED.fullmatch(line):
            found[match[1]] = []
    return {key: "\n".join(lines) for key, lines in found.items()}


def _rare(script: scripts.Script) -> list[str]:
    """The definitions that are made when they are called, by their numbers."""
    found: list[str] = []
    before = ""
    for line, (file, _) in zip(script.texts.text.splitlines(), script.texts.origins, strict=True):
        if before == MADE:
            assert "/" in file, line
            found.append(line)
        elif "/" in file and before:
            found[-1] += f"\n{line}"
        before = line if line == MADE or (before and "/" in file) else ""
    return found


def _locals(script: scripts.Script) -> dict[str, str]:
    """The definitions that are made at once, by their names."""
    lines = script.texts.text.splitlines()
    starts = [at for at, line in enumerate(lines) if re.fullmatch(r"[a-z]+_\w+ =", line)]
    ends = [*starts[1:], lines.index(ALIAS)]
    return {lines[at][:-2]: "\n".join(lines[at + 1 : end]) for at, end in zip(starts, ends, strict=False)}


def _reached(defined: Mapping[str, str], roots: str) -> set[str]:
    """What is named by a text, by way of what names what."""
    found: set[str] = set()
    left = [roots]
    while left:
        text = left.pop()
        words = {one or other for one, other in re.findall(r"rare\('?(\w+)'?\)|(?<![.'\w])([a-z]+_\w+)", text)}
        left += [defined[word] for word in words & defined.keys() - found]
        found |= words & defined.keys()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_text_holds_what_its_script_reaches_and_nothing_else(name: str) -> None:
    """Redis runs the whole text on every call: what is not needed costs time."""
    bodies, script = _bodies(name), scripts.load(name)
    assert _reached(bodies, " ".join(line for line, _, _ in _whole(name)[-2:])) == bodies.keys()
    rare, locals_ = dict(zip(map(str, itertools.count()), _rare(script), strict=False)), _locals(script)
    lines = script.texts.text.splitlines()
    main = "\n".join(lines[lines.index(ALIAS) + 1 :])
    assert main
    assert _reached({**rare, **locals_}, main) == {*rare, *locals_}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_a_text_are_defined_in_it_and_locals_are_declared(name: str) -> None:
    """What is rare is asked for by a number that there is, a local is declared, and nothing waits to be resolved."""
    script = scripts.load(name)
    text, locals_, rare = script.texts.text, _locals(script), _rare(script)
    declared = re.findall(r"^local ([a-z]+_\w+(?:, [a-z]+_\w+)*)$", text, re.MULTILINE)
    assert (declared[0].split(", ") if declared else []) == list(locals_)
    assert {int(number) for number in re.findall(r"\brare\((\d+)\)", text)} == set(range(len(rare)))
    assert len(re.findall(r"\brare\(", text)) == len(re.findall(r"\brare\(\d+\)", text))
    assert not re.search(r"limits\.[A-Z]|@|\brequire\b", text)
    assert re.findall(r"\b(?:KEYS|ARGV)\b", text) == ["KEYS", "ARGV"]
    # Commands are found in it by their names: by `acl`, and by `doctor`.
    called = re.findall(r"redis[._]p?call\(\s*'([A-Z]+)'", text)
    assert set(called) == set(re.findall(r"redis\.p?call\(\s*'([A-Z]+)'", "\n".join(_bodies(name).values())))
    assert len(called) == len(re.findall(r"redis[._]p?call\b", text.replace(ALIAS, "")))


@pytest.mark.parametrize("name", NAMES)
def test_a_number_leads_to_the_function_that_the_line_names(name: str) -> None:
    """Lua says at which line each number's function begins; the line that asks for it names it in its file."""
    script = scripts.load(name)
    lines, count = script.texts.text.splitlines(), len(_rare(script))
    starts = [at + 2 for at, line in enumerate(lines) if line == MADE]
    assert len(starts) == count
    top = next(at for at, line in enumerate(lines) if line == ALIAS or re.match(r"local [a-z]+_\w+", line))
    ask = "return function(n) local f = rare(n) return type(f) == 'function' and debug.getinfo(f).linedefined end"
    begins = lua51.LuaRuntime().execute("\n".join(["", *lines[1:top], ask]))
    # What is no function is a table of constants, and has no line.
    assert all(begins(n) in (False, start) for n, start in enumerate(starts))
    names = [_name_at(*script.texts.origins[start - 1]) for start in starts]
    for line, (file, number) in zip(lines, script.texts.origins, strict=True):
        for asked in re.findall(r"\brare\((\d+)\)", line) if "/" in file else ():
            assert re.search(rf"\b{names[int(asked)]}\b", _source(file)[number - 1]), (line, file, number)


def _name_at(file: str, number: int) -> str:
    """What is defined at a line of a file."""
    match = re.match(r"(?:local )?function (?:\w+\.)?(\w+)\(|(?:local |\w+\.)(\w+) = ", _source(file)[number - 1])
    assert match, (file, number)
    return match[1] or match[2]


@needs("luacheck")
def test_no_text_names_a_global_that_there_is_not(tmp_path: Path) -> None:
    """A name that lost its `local` when it was put elsewhere would be one."""
    for name in NAMES:
        (tmp_path / f"{name}.lua").write_text(scripts.load(name).texts.text.partition("\n")[2], encoding="utf-8")
    known = ("--std", "lua51", "--read-globals", "redis", "KEYS", "ARGV", "--only", "1")
    command = ["luacheck", "--no-color", "-q", "--no-config", str(tmp_path), *known]
    assert subprocess.run(command, check=False, capture_output=True, text=True).stdout.startswith("Total: 0 warnings")


def test_every_function_of_a_module_is_reached_by_a_script() -> None:
    """What none of them reaches is dead."""
    reached = {name for script in NAMES for name in _bodies(script)}
    functions = {
        f"{path.stem}_{name}"
        for path in lua_modules()
        for name in re.findall(rf"^(?:local )?function (?:{path.stem}\.)?(\w+)\(", code(read(path)), re.MULTILINE)
    }
    assert functions - reached == set()


@pytest.mark.parametrize("name", NAMES)
def test_both_texts_compile_as_lua_5_1(name: str) -> None:
    """As servers read it, and as the in-process store does.  (Not more than 200 locals, for one.)"""
    script = scripts.load(name)
    runtime = lua51.LuaRuntime()
    for text in (script.texts.text.removeprefix("#!lua").partition("\n")[2], script.texts.memory_text):
        assert runtime.compile(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_no_longer_than_what_a_server_keeps_at_ease(name: str) -> None:
    """It is sent whole where a server does not know it yet; `allocate`, the longest, takes it 20 ms.

    The bound in bytes is that length and a little: what makes a text longer has to be worth it.

    A function that stands in many places must not swell it: a quarter more than each once (at most 16 %, `resize`).
    """
    text = scripts.load(name).texts.text
    assert len(text) < 204_000
    assert len(text) < 1.25 * sum(len(line) + 1 for line, _, _ in _whole(name))


def test_what_is_said_to_be_ordinary_is_a_function_of_the_script() -> None:
    """Names that a file has lost would be put in place no longer, in silence; `NAME+` has those that `NAME` has not."""
    assert {name.removesuffix("+") for name in scripts.ordinary()} <= set(NAMES)
    for name, functions in scripts.ordinary().items():
        script = name.removesuffix("+")
        assert {function.replace(".", "_", 1) for function in functions} <= _bodies(script).keys(), name
        assert name == script or not functions & scripts.ordinary()[script], name


# -- origins -----------------------------------------------------------------------------------------------------------


def _shape(line: str) -> str:
    """A line without names, literals and spaces."""
    return re.sub(r"'[^']*'|[\w.\s]", "", re.sub(r"rare\('(\w+)'\)", r"\1", line))


@cache
def _source(file: str) -> tuple[str, ...]:
    """The lines of a file of scripts or modules."""
    return tuple(read(scripts.folder() / file).splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_each_line_of_the_functions_knows_the_line_that_a_person_edits(name: str) -> None:
    """Brackets, operators and commas are the same there."""
    lines = [
        (line, code(_source(file)[number - 1]), file, number) for line, file, number in _whole(name) if "/" in file
    ]
    assert lines
    for line, source, file, number in lines:
        assert _shape(line) == _shape(CONSTANT.sub("", source)), (line, file, number)


@pytest.mark.parametrize("name", NAMES)
def test_each_line_of_a_text_knows_the_line_that_a_person_edits(name: str) -> None:
    """Its words are there, but for those that put a function in the place of its call."""
    script = scripts.load(name)
    lines = script.texts.text.splitlines()
    assert len(lines) == len(script.texts.origins)
    checked = 0
    for line, (file, number) in zip(lines, script.texts.origins, strict=True):
        if "/" in file:
            source = _source(file)[number - 1]
            words = set(WORD.findall(BOUND.sub(" ", line))) - PLACING - LITERALS
            strange = {word for word in words if word.rpartition("_")[2] and not _is_in(word, source)}
            assert not strange, (line, file, number, strange)
            checked += 1
    assert checked > len(_bodies(name))


def _is_in(word: str, source: str) -> bool:
    """Whether a line has the word: a local `accounts_take` stands there as `accounts.take` or `take`."""
    names = (word, word.replace("_", ".", 1), word.partition("_")[2] or word)
    return any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", source) for one in names)


@pytest.mark.parametrize("name", NAMES)
def test_an_error_is_mapped_back_to_the_file_that_a_person_edits(name: str) -> None:
    """Line numbers of the linked text mean nothing to anybody; each error is found, wherever it was put."""
    script = scripts.load(name)
    found = 0
    for line, text in enumerate(script.texts.text.splitlines(), 1):
        for said in re.findall(r"error\(\{err = ('[^']*')", text):
            located = script.locate(f"ERR user_script:{line}: oops, and user_script:99999: beyond")
            match = re.fullmatch(r"ERR ([\w/]+\.lua):(\d+): oops, and user_script:99999: beyond", located)
            assert match, located
            assert f"error({{err = {said}" in _source(match[1])[int(match[2]) - 1], located
            found += 1
    assert found


@pytest.mark.parametrize("name", NAMES)
def test_a_linked_text_does_not_depend_on_which_functions_are_ordinary(name: str) -> None:
    """`ordinary.txt` moves functions; each line that does something is in the text, whichever they are.

    A function of Lua has at most 200 locals, so not all are ordinary at once.
    """
    every = {key.replace("_", ".", 1) for key in _bodies(name)}
    usual = scripts.ordinary().get(name, frozenset())
    whole = _acts(_whole(name))
    halves = sorted(every)[::2], sorted(every)[1::2]
    for ordinary, others in (((), ()), (usual, ()), (usual, every - usual), *((half, ()) for half in halves)):
        lines = linker.link(scripts.folder(), scripts.files()[name], schema.LIMITS, ordinary, others)
        assert lua51.LuaRuntime().compile("\n".join(line for line, _, _ in lines))
        assert _acts(lines) == whole


def _acts(lines: Iterable[Line]) -> set[tuple[str, int]]:
    """The lines of files that do something, by what stands there.

    The rest are definitions, what only closes, and returns without a call: where nobody wants a value it is left out.
    """
    origins = {(file, number) for _, file, number in lines if "/" in file}
    return {place for place in origins if not RESTS.fullmatch(code(_source(place[0])[place[1] - 1]).rstrip())}
