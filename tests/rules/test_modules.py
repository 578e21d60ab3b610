"""The rules of `lua/README.md` for the text of every Lua file, script and module alike."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from allocator._engine.protocol import schema, scripts
from tests.rules import lua_lint
from tests.rules.sources import code, lua_files, lua_modules, read, relative
from tests.support.tools import needs
from tools import generate

COMMAND: Final = re.compile(r"redis[._]p?call\(\s*'([A-Z]+)'")
"""In files `redis.call`; in linked texts also by the name that the loader gives it, `redis_call`."""

WRITES: Final = {"HDEL", "HSET", "PERSIST", "PEXPIRE", "UNLINK", "XADD", "ZADD", "ZREM"}
READS: Final = {
    "EXISTS", "HGET", "HGETALL", "HMGET", "INFO", "PTTL", "TIME", "XLEN", "XRANGE", "XREVRANGE", "ZCARD", "ZCOUNT",
    "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZSCAN", "ZSCORE",
}  # fmt: skip
"""All that the scripts send.  Another one wants a look at its rights, its bounds and its cost."""

HINTS: Final = {"HINCRBY", "SPUBLISH"}
"""What counts, and what wakes a client that waits: nothing depends on them, and each may fail."""

FORBIDDEN: Final = {
    r"math\.random": "a script is replicated by its effects, and read by people",
    r"cmsgpack|cjson|\bstruct\.|\bbit\.": "records are read by people, and the in-process store lacks them",
    r"loadstring|loadfile|dofile|(?<![.\w])load\(": "code comes from files",
    r"\bos\.": "time is TIME",
    r"unpack\((\w+\.)?(argv|keys|ARGV|KEYS)\)": "has no bound",
    r"redis_": "the loader alone writes that name, and commands are found by their own",
    r"redis\.log": "what happened is told in events",
    r"(?<![.\w])(KEYS|ARGV)\b": "only the line that the loader writes knows them",
    r"\bgoto\b|setfenv|getfenv|debug\.|coroutine": "the text is to be read from top to bottom",
}
"""What no file contains, and why."""

DIGITS: Final = "(digits .. fence .. granted_ms .. (ttl_ms or '') .. (deadline_ms or '')):find('^%d+$')"
"""Of `records.parse`: what was stored, still text, is looked at for other things than digits before it is a number."""

DEEP: Final = re.MULTILINE | re.DOTALL

EITHER: Final = pytest.mark.parametrize("path", lua_files(), ids=relative)
MODULE: Final = pytest.mark.parametrize("path", lua_modules(), ids=relative)


@needs("luacheck")
def test_luacheck_has_nothing_to_say(capfd: pytest.CaptureFixture[str]) -> None:
    """No undefined global, no unused local, no shadowing, in each file as it is."""
    assert lua_lint.main() == 0, capfd.readouterr().out


@EITHER
def test_forbidden_constructs_are_absent(path: Path) -> None:
    """Each with its reason."""
    text = code(read(path))
    assert not [f"{construct}: {why}" for construct, why in FORBIDDEN.items() if re.search(construct, text)]


@EITHER
def test_commands_are_literals_that_are_known(path: Path) -> None:
    """So that they can be counted, and found.  None walks the whole store, and none removes without a bound."""
    text = code(read(path))
    assert len(re.findall(r"redis\.p?call\b", text)) == len(COMMAND.findall(text))
    assert set(COMMAND.findall(text)) <= WRITES | READS | HINTS


@EITHER
def test_commands_that_write_stand_in_the_transaction_only(path: Path) -> None:
    """In one order, after everything is read: Redis keeps what a script wrote before it failed."""
    written = set(COMMAND.findall(code(read(path)))) & WRITES
    assert not written or path.name == "transaction.lua"


def test_every_known_command_is_sent() -> None:
    """One that nobody sends any more is to be forgotten, also by the rights."""
    assert {command for path in lua_files() for command in COMMAND.findall(code(read(path)))} == WRITES | READS | HINTS


@EITHER
def test_a_hint_may_fail_and_stands_in_the_transaction_only(path: Path) -> None:
    """Neither a right that is missing nor an older server is an error."""
    text = code(read(path))
    for command in HINTS:
        assert f"redis.call('{command}'" not in text
        assert command not in text or path.name == "transaction.lua"


def test_every_right_is_looked_at_before_the_first_write() -> None:
    """The common ones once a connection, by `check_access`; the rare ones by `transaction`, where they are wanted."""
    checked = re.search(r"COMMANDS = \{(.*)\}", code(read(scripts.folder() / scripts.files()["check_access"])))
    assert checked
    common = set(re.findall(r"'([A-Z]+)'", checked[1]))
    transaction = code(read(scripts.folder() / "modules" / "transaction.lua"))
    rest = re.search(r"local function check_rest.*?^end$", transaction, DEEP)
    assert rest
    rare = set(re.findall(r"'([A-Z]+)'", rest[0]))
    assert common <= WRITES, "what only reads fails before anything is written"
    assert common | rare >= WRITES
    for command in WRITES - common:
        functions = re.findall(rf"^local function (\w+)(?:(?!^end$).)*?'{command}'", transaction, DEEP)
        assert set(functions) == {"check_rest", "write_rest"}, command
    assert re.search(r"if rest then check_rest\(call\) end", transaction)
    assert transaction.index("check_rest(call) end") < transaction.index("write_events(call) end")
    for name in scripts.names():
        assert set(COMMAND.findall(scripts.load(name).texts.text)) & WRITES <= common | rare, name


@EITHER
def test_no_number_becomes_text_by_itself(path: Path) -> None:
    """`tostring` and `..` write 1e+15; amounts and instants are passed as numbers or formatted by %.0f."""
    text = code(read(path))
    assert text.count(DIGITS) == (path.name == "records.lua")
    text = text.replace(DIGITS, "")
    assert set(re.findall(r"tostring\(([^)]*)\)", text)) <= {"flat.err"}
    assert not re.findall(r"\.\. ([a-z_.]+(?:amount|amounts|ms|fence|sum|revision))\b", text)
    assert not re.findall(r"%[dig]\b(?!')", "".join(re.findall(r"string\.format\('([^']*)'", text)))


@EITHER
def test_what_is_required_is_used_and_stands_in_order_at_the_top(path: Path) -> None:
    """A name for each module, its own."""
    text = code(read(path))
    required = re.findall(r"^local (\w+) = require\('(\w+)'\)$", text, re.MULTILINE)
    assert len(required) == text.count("require(")
    names = [name for name, _ in required]
    assert all(name == module for name, module in required)
    assert names == sorted(names)
    assert [name for name in names if not re.search(rf"(?<![\w.]){name}\.", text)] == []


@MODULE
def test_a_module_returns_the_table_of_its_name(path: Path) -> None:
    """It says what it is in its first line, and has functions and constants in that table."""
    text = read(path)
    assert re.match(rf"-- {path.stem}: \w", text)
    assert text.count(f"\nlocal {path.stem} = {{}}\n") == 1
    assert text.endswith(f"\nreturn {path.stem}\n")
    assert len(re.findall(r"^return\b", text, re.MULTILINE)) == 1


def test_every_module_is_required_by_something() -> None:
    """Dead code has no tests.  (The loader takes `context` into every text.)"""
    required = Counter(name for path in lua_files() for name in re.findall(r"require\('(\w+)'\)", read(path)))
    assert required.keys() | {"context"} == {path.stem for path in lua_modules()}


def test_every_limit_is_used_in_a_script() -> None:
    """What no script reads is no shared bound."""
    text = "".join(code(read(path)) for path in lua_files() if path.stem != "limits")
    assert {name for name in schema.LIMITS if not re.search(rf"limits\.{name}\b", text)} == set()


def test_what_is_generated_is_what_its_sources_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m tools.generate` writes it anew."""
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generate.main() == 0, capsys.readouterr().out
