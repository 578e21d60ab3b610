"""The rules of `lua/README.md`: header = binding line = Python, words, forbidden constructs, flags, the guard."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from allocator._engine import keys, schema, scripts
from allocator.errors import ContractError
from tests.hygiene import lua_lint
from tests.hygiene.sources import ROOT, code, header, lua_files, relative
from tests.support.tools import needs

lua51 = pytest.importorskip("lupa.lua51", reason="the extra `embedded` is not installed")

NAMES: Final = scripts.names()
READS: Final = {"audit", "check", "events", "get", "orphans", "page", "usage"}
GIVES_BACK: Final = {
    "adopt", "begin_release", "delete", "reclaim", "reconcile", "release", "renew", "repair", "resize", "withdraw",
}  # fmt: skip
"""What must run on a full server, or it could neither be emptied nor keep its leases."""

BINDING: Final = re.compile(r"^local ([\w, ]+) = (.*\b(?:KEYS|ARGV)\b.*)$", re.MULTILINE)
PLACE: Final = re.compile(r"^(KEYS|ARGV)\[(\d+)\](?: == '1')?$")
WRITES: Final = {"DEL", "HDEL", "HSET", "PERSIST", "PEXPIRE", "SET", "UNLINK", "XADD", "ZADD", "ZREM"}
WORD: Final = re.compile(r"\{'([a-z_]+)'")
CODES: Final = {"unknown_resource", "constraint_violation", "never_fits", "capacity_exceeded"}

NO_REPLIES: Final = CODES | {"kind", "revision", "refused", "state", "releasing_ms", "recovering_until_ms"}
"""What stands first in a table and is no reply: refusal codes, fields, a mark."""

FORBIDDEN: Final = {
    "'KEYS'": "walks the whole store",
    "'SCAN'": "walks the whole store",
    "'DEL'": "takes long where the key is large: UNLINK",
    "'FLUSH": "nothing of ours empties a store",
    "ZREMRANGEBY": "has no bound",
    "math.random": "a script is replicated by its effects, and read by people",
    "cmsgpack": "records are read by people, and the in-process store lacks it",
    "cjson": "records are read by people",
    "struct.": "the in-process store lacks it",
    "bit.": "the in-process store lacks it",
    "loadstring": "code comes from files",
    "os.": "time is TIME",
    "unpack(ARGV)": "has no bound",
    "unpack(argv)": "has no bound",
    "unpack(KEYS)": "has no bound",
    "unpack(keys)": "has no bound",
    "redis.log": "what happened is told in events",
}
"""What no script contains, and why."""


def _text(name: str) -> str:
    return (scripts.folder() / f"{name}.lua").read_text(encoding="utf-8")


def _bound(name: str) -> dict[str, dict[int, str]]:
    """What the binding lines call each place of KEYS and ARGV."""
    found: dict[str, dict[int, str]] = {"KEYS": {}, "ARGV": {}}
    for left, right in BINDING.findall(_text(name)):
        for local, value in zip(left.split(", "), right.split(", "), strict=True):
            if match := PLACE.match(value):
                found[match[1]][int(match[2])] = local
            else:
                assert (local, value) in (("keys", "KEYS"), ("argv", "ARGV")) or local.isupper(), f"{local} = {value}"
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_binding_line_names_what_the_header_names_at_the_same_place(name: str) -> None:
    """The header is what Python binds by; another order in the script would swap two keys."""
    script, bound = scripts.load(name), _bound(name)
    args = (*script.leading, *script.args)
    assert bound["KEYS"] == dict(enumerate(script.keys, start=1))
    for place, local in bound["ARGV"].items():
        assert args[place - 1] == local


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_after_the_binding_line_begins_where_it_ends(name: str) -> None:
    """`args.at`, FIXED and the like are the numbers of names in the header."""
    script, text, bound = scripts.load(name), code(_text(name)), _bound(name)
    for value in re.findall(r"args\.at = (\d+)", text):
        assert int(value) == max(bound["ARGV"]), f"args.at = {value}"
    for value in re.findall(r"args\.finish\((\d+), 0\)", text) + re.findall(r"local FIXED = (\d+)", text):
        assert int(value) == len(script.keys)
    if constants := re.search(r"local KEY, FIRST_ITEM, .* = (\d+), (\d+), ", text):
        assert (int(constants[1]), int(constants[2])) == (len(script.keys), len(script.leading) + len(script.args) + 1)


@pytest.mark.parametrize("path", lua_files(), ids=relative)
def test_keys_and_argv_are_touched_in_binding_lines_only(path: Path) -> None:
    """Names, never positions; `args` reads what comes after them."""
    if path.stem != "args":
        left = BINDING.sub("", code(path.read_text(encoding="utf-8")))
        assert not re.search(r"\b(KEYS|ARGV)\b", left)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_says_everything_in_its_order(name: str) -> None:
    """The verb and a sentence; KEYS, ARGV, Reply, Writes, Cost; keys by the names of the keyspace."""
    text = header(_text(name))
    assert re.match(rf"\n{name} -- [A-Z].*[.?]\n", text)
    blocks = re.findall(r"^(KEYS|ARGV|Reply|Writes|Cost) ", text, re.MULTILINE)
    assert blocks == ["KEYS", "ARGV", "Reply", "Writes", "Cost"]
    assert set(scripts.load(name).keys) <= {*keys.FIXED, "record", "index"}
    assert re.search(r"^ARGV {4}now_ms ", text, re.MULTILINE), "the first argument is the instant"


def _reply_words(name: str) -> set[str]:
    """The words in the Reply block of the header."""
    block = header(_text(name)).partition("\nReply ")[2].partition("\nWrites ")[0]
    return set(re.findall(r'\{"(\w+)"', block))


@pytest.mark.parametrize("name", NAMES)
def test_every_reply_word_of_the_header_is_in_the_script_and_the_reverse(name: str) -> None:
    """What a caller may hear is what is written down."""
    expanded, words = code(scripts.load(name).text), _reply_words(name)
    assert words
    states = {"offline", "deleting"} if re.search(r"\bstate\b", code(_text(name))) else set[str]()
    missing = {word for word in words - states if f"'{word}'" not in expanded}
    assert not missing, f"in the header only: {missing}"
    own = set(WORD.findall(code(_text(name))))
    own |= set(WORD.findall(expanded)) if name == "allocate" else set()
    assert own - words <= NO_REPLIES, f"in the script only: {own - words - NO_REPLIES}"


def test_every_reply_word_is_read_by_the_operations_and_provoked_by_a_test() -> None:
    """A word that nobody reads is a contract error in production; one that no test provokes may never be said."""
    folder = ROOT / "allocator" / "_engine" / "operations"
    python = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "lua").glob("*.py"))
    words = {word for name in NAMES for word in _reply_words(name)}
    assert not {word for word in words if f'"{word}"' not in python}
    assert not {word for word in words if f'"{word}"' not in tests}


@pytest.mark.parametrize("path", lua_files(), ids=relative)
def test_forbidden_constructs_are_absent(path: Path) -> None:
    """Each with its reason."""
    text = code(path.read_text(encoding="utf-8"))
    assert not [f"{construct}: {why}" for construct, why in FORBIDDEN.items() if construct in text]


@pytest.mark.parametrize("path", lua_files(), ids=relative)
def test_commands_are_literals_in_capitals(path: Path) -> None:
    """So that they can be counted, and found."""
    text = code(path.read_text(encoding="utf-8"))
    assert not re.search(r"redis\.p?call\((?!\s*'[A-Z]+')", text)


@pytest.mark.parametrize("path", lua_files(), ids=relative)
def test_no_number_becomes_text_by_itself(path: Path) -> None:
    """`tostring` and `..` write 1e+15; amounts and instants are passed as numbers or formatted by %.0f."""
    text = code(path.read_text(encoding="utf-8"))
    assert set(re.findall(r"tostring\(([^)]*)\)", text)) <= {"flat.err"}
    joined = re.findall(r"\.\. ([a-z_.]+(?:amount|amounts|ms|fence|sum|revision))\b", text)
    assert not joined


@pytest.mark.parametrize("path", lua_files(), ids=relative)
def test_an_include_defines_one_local_of_its_own_name_or_is_a_chunk(path: Path) -> None:
    """One mechanism, no hidden names.  (Chunks are statements that use what stands around them.)"""
    if path.parent.name == "include" and path.stem not in lua_lint.CHUNKS:
        text = path.read_text(encoding="utf-8")
        assert re.search(rf"^local (function )?{path.stem}\b", text, re.MULTILINE)


def test_every_include_is_included() -> None:
    """Dead code has no tests."""
    included = {name for path in lua_files() for name in lua_lint.INCLUDE.findall(path.read_text(encoding="utf-8"))}
    assert included == {path.stem for path in lua_files() if path.parent.name == "include"}


@pytest.mark.parametrize("name", NAMES)
def test_a_script_compiles_as_lua_5_1(name: str) -> None:
    """As servers read it, and as the in-process store does."""
    script = scripts.load(name)
    runtime = lua51.LuaRuntime()
    for text in (script.text.removeprefix("#!lua").partition("\n")[2], script.memory_text):
        assert runtime.compile(text)


@needs("luacheck")
def test_luacheck_has_nothing_to_say(capfd: pytest.CaptureFixture[str]) -> None:
    """No undefined global, no unused local, no shadowing, on the scripts as the server sees them."""
    assert lua_lint.main() == 0, capfd.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_flags_are_those_of_the_design(name: str) -> None:
    """Readings may run on a replica; what gives back must run on a full server; what takes must not."""
    flags = {"no-writes"} if name in READS else {"allow-oom"} if name in GIVES_BACK else set[str]()
    assert scripts.load(name).flags == flags
    own = set(re.findall(r"'([A-Z]+)'", code(_text(name))))
    if name in READS:
        assert not own & WRITES


@pytest.mark.parametrize("name", [name for name in NAMES if name not in READS])
def test_the_guard_knows_every_command_that_the_script_writes_by(name: str) -> None:
    """What the user may not run must fail before the first write.  (XADD is the first write of allocate.)"""
    text = code(scripts.load(name).text)
    used = set(re.findall(r"redis\.call\(\s*'([A-Z]+)'", text)) & WRITES
    guarded = {command for call in re.findall(r"guard\((.*)\)", text) for command in re.findall(r"'([A-Z]+)'", call)}
    guarded |= set(re.findall(r"may\('([A-Z]+)'\)", text))
    assert used <= guarded


def test_every_bound_of_the_schema_is_used_in_a_script() -> None:
    """What no script reads is no shared bound."""
    text = "".join(path.read_text(encoding="utf-8") for path in lua_files())
    assert {name for name in schema.BOUNDS if f"schema.{name}" not in text} == set()


def test_no_bound_is_left_by_its_name() -> None:
    """The loader writes each as a number, where it stands."""
    for name in NAMES:
        assert not re.search(r"schema\.[A-Z]", code(scripts.load(name).text))


def test_an_unknown_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than read as nil by the in-process store."""
    (tmp_path / "include").mkdir()
    (tmp_path / "odd.lua").write_text("--[[\nodd -- Odd.\n\nKEYS    pool  hash\n]]\nreturn schema.NO_SUCH\n")
    monkeypatch.setattr(scripts, "folder", lambda: tmp_path)
    with pytest.raises(ContractError, match="NO_SUCH"):
        scripts.load.__wrapped__("odd")


def test_an_include_cycle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the way around."""
    (tmp_path / "include").mkdir()
    (tmp_path / "odd.lua").write_text("--[[\nodd -- Odd.\n\nKEYS    pool  hash\n]]\n--@include a\n")
    (tmp_path / "include" / "a.lua").write_text("--@include b\n")
    (tmp_path / "include" / "b.lua").write_text("--@include a\n")
    monkeypatch.setattr(scripts, "folder", lambda: tmp_path)
    with pytest.raises(ContractError, match=r"a\.lua -> b\.lua -> a\.lua"):
        scripts.load.__wrapped__("odd")


def test_an_error_is_mapped_back_to_the_file_that_a_person_edits() -> None:
    """Line numbers of the expanded text mean nothing to anybody."""
    script = scripts.load("release")
    line = script.text.splitlines().index("local records = {}") + 1
    located = script.locate(f"ERR user_script:{line}: oops, and user_script:99999: beyond")
    source = (scripts.folder() / "include" / "records.lua").read_text(encoding="utf-8").splitlines()
    assert (
        located
        == f"ERR include/records.lua:{source.index('local records = {}') + 1}: oops, and user_script:99999: beyond"
    )
