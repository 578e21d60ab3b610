"""The rules of `lua/README.md` for scripts: the header is the contract, in both directions."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import pytest

from allocator._engine.protocol import keys, schema, scripts
from allocator._engine.protocol.linker import link
from tests.rules import lua_reads
from tests.rules.sources import ROOT, code, header, read

NAMES: Final = scripts.names()
READS: Final = {
    "audit", "check", "check_access", "find_orphans", "get_allocation", "list_allocations", "list_quotas",
    "list_waiters", "read_events", "read_history", "read_pool",
}  # fmt: skip
GIVES_BACK: Final = {
    "adopt", "begin_release", "delete_pool", "delete_quota", "move", "reclaim", "reconcile", "release", "renew",
    "repair", "resize", "undo", "withdraw",
}  # fmt: skip
"""What must run on a full server, or it could neither be emptied nor keep its leases."""

WORD: Final = re.compile(r"\{'([a-z_]+)'|rare\('(?:records_reply|main_pool_as)'\)\(call, '([a-z_]+)'")
"""In the text of whole functions: the first word of a table, and of what `records.reply` and `pool_as` tell."""

STATES: Final = {"offline", "deleting"}
"""Words that a pool's `state` has, and that are answered as they are stored."""

NO_REPLIES: Final = {
    "unknown_resource", "constraint_violation", "never_fits", "capacity_exceeded",  # reasons of a denial
    "kind", "revision", "fence", "refused", "state", "generation", "recovering_until_ms",  # fields, a mark
    "resources", "metadata", "options",  # arguments
    "denied", "unknown_scope",  # why a request waits, which whoever frees room compares
    "reserved",  # a part of units
}  # fmt: skip
"""What stands first in a table and is no reply."""

NOT_READ: Final = {"ready"}
"""What stands for *nothing is wrong*, where only the other words are looked for."""

KINDS: Final = {
    "text": {"text", "signed"},
    "int": {"integer", "flag"},
    "item": {"text", "integer", "flag", "signed", "item"},
    "list": {"list"},
}
"""How scripts read what headers call so."""


def _text(name: str) -> str:
    return read(scripts.folder() / scripts.files()[name])


@cache
def _whole(name: str) -> str:
    """The script and each function that it reaches, as they are in their files."""
    lines = link(scripts.folder(), scripts.files()[name], schema.LIMITS, inlines=False)
    return "\n".join(line for line, _, _ in lines)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_reads_what_its_header_lists_in_that_order(name: str) -> None:
    """The header is what Python binds by; another order in the script would swap two arguments."""
    said, done = lua_reads.said(name), lua_reads.done(name)
    assert len(said) == len(done), (said, done)
    for one, other in zip(said, done, strict=True):
        assert lua_reads.is_same(one, other), (one, other)
        marked = f"{one.name} +text .*'-'" if other.kind == "integer" and one.kind == "text" else None
        assert other.kind in KINDS[one.kind] or (marked and re.search(marked, header(_text(name)))), (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_binds_all_its_keys_and_arguments(name: str) -> None:
    """One that is left over is a contract error: a caller of another version would be misunderstood."""
    text, block = code(_text(name)), header(_text(name))
    kind = re.search(r"^KEYS +\w+ +(\w+)", block, re.MULTILINE)
    match kind and kind[1]:
        case None:
            assert "arguments.finish(call, 0)" in text
        case "hash":
            assert "arguments.finish(call, 1)" in text
            assert "arguments.record(call, 1)" in text
        case _:
            ends = ("arguments.items(call, ", "requests.load(call)", "arguments.finish(call, count)")
            assert any(end in text for end in (*ends, "arguments.finish(call, arguments.records(call))"))


@pytest.mark.parametrize("name", NAMES)
def test_a_header_says_everything_in_its_order(name: str) -> None:
    """The verb and a sentence; KEYS and ARGV where there are any beyond the envelope; Reply, Writes, Cost."""
    text = header(_text(name))
    assert re.match(rf"\n{name} -- [A-Z].*[.?]\n", text)
    blocks = re.findall(r"^(KEYS|ARGV|Reply|Writes|Cost) ", text, re.MULTILINE)
    assert blocks == [block for block in ("KEYS", "ARGV", "Reply", "Writes", "Cost") if block in blocks]
    assert {"Reply", "Writes", "Cost"} <= set(blocks)
    assert set(scripts.load(name).keys) <= {*keys.FIXED, "record"}


def _reply_words(name: str) -> set[str]:
    """The words in the Reply block of the header."""
    block = header(_text(name)).partition("\nReply ")[2].partition("\nWrites ")[0]
    return set(re.findall(r'\{"(\w+)"', block))


@pytest.mark.parametrize("name", NAMES)
def test_every_reply_word_of_the_header_is_in_the_script_and_the_reverse(name: str) -> None:
    """What a caller may hear is what is written down, also where a module says it."""
    linked, words = _whole(name), _reply_words(name)
    assert words
    states = STATES if re.search(r"\.state\b", code(_text(name))) else set[str]()
    missing = {word for word in words - states if f"'{word}'" not in linked}
    assert not missing, f"in the header only: {missing}"
    own = {one or other for one, other in WORD.findall(linked)}
    assert own - words <= NO_REPLIES, f"in the script only: {own - words - NO_REPLIES}"


def test_every_reply_word_is_read_by_the_operations_and_provoked_by_a_test() -> None:
    """A word that nobody reads is a contract error in production; one that no test provokes may never be said."""
    folder = ROOT / "allocator" / "_engine" / "operations"
    python = "".join(read(path) for path in folder.rglob("*.py"))
    tests = "".join(read(path) for path in (ROOT / "tests" / "scripts").glob("*.py"))
    words = {word for name in NAMES for word in _reply_words(name)}
    assert {word for word in words - NOT_READ if f'"{word}"' not in python} == set()
    assert {word for word in words if f'"{word}"' not in tests} == set()


def test_no_exception_is_left_over() -> None:
    """What stands in none of the scripts is no exception."""
    said = {one or other for name in NAMES for one, other in WORD.findall(_whole(name))}
    words = {word for name in NAMES for word in _reply_words(name)}
    denials = {"unknown_resource", "constraint_violation", "never_fits", "capacity_exceeded"}
    assert NO_REPLIES - denials - said == set()
    assert denials & words == set()


@pytest.mark.parametrize("name", NAMES)
def test_flags_are_those_of_the_design(name: str) -> None:
    """Readings may run on a replica; what gives back must run on a full server; what takes must not."""
    flags = {"no-writes"} if name in READS else {"allow-oom"} if name in GIVES_BACK else set[str]()
    assert scripts.load(name).flags == flags


@pytest.mark.parametrize("name", NAMES)
def test_a_script_reads_decides_and_writes_in_this_order(name: str) -> None:
    """Nothing is read after the commit but what is answered, and there is one commit."""
    text = _text(name)
    main = text[text.index("return function(call)") :]
    if name in READS:
        assert "transaction" not in code(text)
    else:
        assert re.findall(r"^ +-- (Read|Decide|Write)$", main, re.MULTILINE) == ["Read", "Decide", "Write"]
        assert code(text).count("transaction.commit(call)") == 1
        assert "transaction.commit(call)" in main[main.index("-- Write") :]
