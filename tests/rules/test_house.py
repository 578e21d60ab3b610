"""The plan of the house: no import circle, no name twice, no folder too full, no word that was given up."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from allocator._engine.operations.defaults import Defaults
from allocator._engine.protocol import scripts
from tests.rules.sources import ROOT, lua_files, python_files, read, relative
from tools import floors

FILES_MAX: Final = 24

PARTS: Final = ("allocator", "lua", "tools")
"""The folders of `tests` follow what they test, and the decisions are numbered: neither has a bound."""

LATE_IMPORTS: Final = {
    "allocator._async.client": {"allocator.hold"},  # what a program uses of it, on its first use
    "allocator._async.namespaces": {
        "allocator._async.events", "allocator._async.maintenance", "allocator._async.pools",
        "allocator._async.queue", "allocator._async.quotas",
    },
    "allocator._base": {"allocator._engine.leases.hold_base", "allocator._engine.leases.registry"},
    "allocator._sync.client": {"allocator.hold"},
    "allocator._sync.namespaces": {
        "allocator._sync.events", "allocator._sync.maintenance", "allocator._sync.pools",
        "allocator._sync.queue", "allocator._sync.quotas",
    },
    "allocator._engine.execution.driver": {  # for a call that waits, and for a watch
        "allocator._engine.execution.event_follow", "allocator._engine.execution.wake_waits",
    },
    "allocator._engine.execution.loop_state": {
        "allocator._engine.execution.event_follow_async",
        "allocator._engine.execution.listener_async", "allocator._engine.execution.wake_waits_async",
    },
    "allocator._engine.leases.registry": {  # the driver that a renewer needs
        "allocator._engine.execution.driver",
        "allocator._engine.leases.blocking_async",
    },
    "allocator._engine.protocol.resp": {"hiredis"},  # the extra `fast`
    "allocator._engine.protocol.scripts": {"allocator._engine.protocol.linker"},  # for the first call
    "allocator._engine.transport.in_process": {"fakeredis", "lupa"},  # the extra `embedded`
    "allocator._engine.transport.urls": {"allocator._engine.servers.embedded"},  # for `embedded://`
    "allocator.apps.cli.completion": {"click.shell_completion"},  # from here on: `--help` takes milliseconds
    "allocator.apps.cli.context": {"allocator"},
    "allocator.apps.cli.main": {"allocator.apps.cli.root"},
    "allocator.apps.cli.output": {"rich.cells", "yaml"},
    "allocator.apps.cli.servers": {"allocator._engine.servers.embedded", "allocator.access"},
    "allocator.apps.dashboard.scrape": {"allocator.metrics", "prometheus_client"},  # the extra `metrics`
    "allocator.distribution": {"importlib", "tomllib"},  # for a version that somebody asks for
}  # fmt: skip
"""Module -> what it imports inside a function."""

OLD_WORDS: Final = {
    "AsyncLine", "RedisLine", "InlineLine", "Lines", "AsyncLines", "Door", "MakeLine", "Store", "ServerStore",
    "ClusterStore", "SentinelStore", "open_store", "Nodes", "OneServer", "ClusterNodes", "SentinelNodes",
    "AsyncNodes", "open_nodes", "Topology", "Watchtower", "Admission", "InProcess", "renew_after_fork",
    "start_anew", "Fault", "Way", "before_sending", "Attempts", "last_word", "too_late", "Gatherer", "Entry",
    "Member", "Replies", "Story", "leaves_doubt", "left_in_doubt", "Withdrawal", "WithdrawalQueue", "Withdrawer",
    "AsyncWithdrawer", "Marks", "mark_epoch", "mark_fence", "LEADING", "Conversation", "fell_short", "Confirm",
    "Ask", "Refusal", "Remaining", "_Side", "Keeper", "Keepers", "KEEPERS", "Place", "_Alarm", "LoopDriver",
    "Terms", "_Agenda", "Verbs", "Held", "Identity", "Wanted", "Promises", "Listing", "Facts", "catch_up",
    "Checkup", "Diagnosis", "call_of", "amounts_of", "allocation_of", "put_off", "give_back", "open_ends",
    "of_client", "of_reply", "GATHER_ITEMS_MAX", "WITHDRAW_FOR_S", "SENTINEL_LOOK_S", "HOLD_LOOK_S", "configure",
}  # fmt: skip
"""Classes and functions that have another name now (docs/adr/0025)."""

OLD_LUA_WORDS: Final = {
    "CHECK_DUE_MAX", "absent", "alarm", "behind", "believe", "due", "emptied", "endings", "foreign",
    "guard", "guard_pool", "guarded", "journal", "meet", "meeting", "note", "note_pool", "of_error", "of_items",
    "of_pool", "ours", "plan_due", "plan_named", "put_in_place", "said", "save_account", "settle",
    "settle_missing", "stands", "survey", "suspect", "tell", "tell_all", "told_ms", "tombstones", "was_guarded",
    "write_places",
}  # fmt: skip
"""Functions, locals and fields of the Lua that have another name now.  `told` is a field that is stored."""

OLD_TEST_WORDS: Final = {
    "auditing", "byhand", "confirming", "deleting", "doctoring", "endings", "examining", "facade", "gather", "hygiene",
    "journal", "keeper", "keepers", "line", "lines", "meeting", "nodes", "put_off", "reading", "reconciling", "steps",
    "stories", "survey", "tombstones", "torture", "watchtower", "wire", "withdrawals", "withdrawer",
}  # fmt: skip
"""What no file of the tests is named after any more."""

OF_ONE_FLOOR: Final = {"Line": {"allocator._engine.protocol.linker"}}
"""Old words that mean something else in this module: a line of a linked text."""

DOMAIN: Final = frozenset({"node", "nodes", "place", "withdraw", "reserve", "admit"})
"""Words for machines, placement, waiters and reservations; where calls travel, they would mean two things."""

OF_OTHERS: Final = {
    "allocator._engine.transport.failures": {"_PLACE"},  # in a text
    "allocator._engine.transport.ready_clients": {"_nodes", "get_nodes", "node", "nodes_manager", "startup_nodes"},
    "allocator._engine.transport.valkey_clients": {"get_nodes", "nodes_manager", "startup_nodes"},
}
"""Identifiers with such a word: the name of a pattern, and what redis-py calls the servers of a cluster."""


@cache
def _trees() -> Mapping[str, ast.Module]:
    return {name: ast.parse(read(path)) for name, path in floors.modules().items()}


def _circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The modules that reach each other; Tarjan's strongly connected components of more than one."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(one: str) -> None:
        index[one] = low[one] = len(index)
        stack.append(one)
        for other in sorted(graph.get(one, ())):
            if other not in index:
                visit(other)
                low[one] = min(low[one], low[other])
            elif other in stack:
                low[one] = min(low[one], index[other])
        if low[one] == index[one]:
            at = stack.index(one)
            if len(stack) - at > 1 or one in graph.get(one, ()):
                found.append(set(stack[at:]))
            del stack[at:]

    for name in graph:
        if name not in index:
            visit(name)
    return found


def test_a_circle_of_imports_is_found() -> None:
    """The search itself, on a graph that has two circles and on one that has none."""
    assert _circles({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"e"}}) == [{"e"}, {"a", "b", "c"}]
    assert _circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Also not for their types, and not inside a function: what is below can be read without what is above."""
    assert _circles(floors.imports()) == []


def test_a_room_imports_only_what_is_on_a_lower_floor() -> None:
    """`make layers` says so of what runs, this of types too."""
    level = {room: number for number, floor in enumerate(floors.floors()) for room in floor}
    edges = {(room, other) for room, others in floors.between().items() for other in others}
    assert {(room, other) for room, other in edges if level[other] <= level[room]} == set()


def test_no_two_files_of_the_engine_share_a_name() -> None:
    """A name says which file is meant, in a traceback and in a conversation."""
    names = Counter(path.name for path in python_files("allocator/_engine") if path.name != "__init__.py")
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("part", PARTS)
def test_no_folder_has_more_than_24_files(part: str) -> None:
    """A list that does not fit on a screen wants another folder."""
    counts = Counter(path.parent for path in (ROOT / part).rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert {relative(folder): count for folder, count in counts.items() if count > FILES_MAX} == {}


def test_each_script_is_bound_by_one_file_of_the_operations() -> None:
    """Its arguments are encoded, and its replies decoded, in one place."""
    files = [(name, tree) for name, tree in _trees().items() if name.startswith("allocator._engine.operations.")]
    bound = Counter(script for _, tree in files for script in set(_bound(tree)))
    assert bound == Counter(scripts.names())


def _bound(tree: ast.Module) -> Iterator[str]:
    """The scripts that a file names in `load("...")`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="load"), args=[ast.Constant(value=str(name))]):
                yield name
            case _:
                pass


def test_the_defaults_have_no_verbs() -> None:
    """A verb is a function of its own file and takes the defaults first; a method would be the same verb twice."""
    methods = {name for name, one in vars(Defaults).items() if inspect.isfunction(one) and not name.startswith("_")}
    assert methods == {"replaced", "keys", "identify", "group"}


def _late_imports(tree: ast.Module) -> Iterator[str]:
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]
    for node in {inner for function in functions for inner in ast.walk(function)}:
        yield from floors.imported(node)


def test_nothing_but_these_is_imported_inside_a_function() -> None:
    """An import at the top shows what a file stands on, and fails when the file is imported."""
    found = {name: set(_late_imports(tree)) for name, tree in _trees().items()}
    assert {name: late for name, late in found.items() if late} == LATE_IMPORTS


def _identifiers(tree: ast.Module) -> Iterator[str]:
    """Each name that a file defines, binds or uses, also of attributes and arguments."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(name=name, asname=asname):
                yield asname or name
            case ast.keyword(arg=str(name)):
                yield name
            case _:
                pass


@cache
def _used() -> Mapping[str, set[str]]:
    """Identifier -> the modules that have it."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, tree in _trees().items():
        for name in _identifiers(tree):
            found[name].add(module)
    return found


def test_no_word_that_was_given_up_comes_back() -> None:
    """One thing has one name."""
    assert {name: _used()[name] for name in OLD_WORDS & _used().keys()} == {}
    assert {name: _used()[name] - modules for name, modules in OF_ONE_FLOOR.items() if _used()[name] - modules} == {}


def _lua_identifiers(text: str) -> set[str]:
    """The names in a Lua file, without its comments and strings."""
    bare = re.sub(r"--\[\[.*?\]\]|--[^\n]*|'[^'\n]*'", "", text, flags=re.DOTALL)
    return set(re.findall(r"[A-Za-z_]\w*", bare))


def test_comments_and_strings_of_lua_are_no_identifiers() -> None:
    """A key that is stored keeps its name, and prose may say *queue*."""
    assert _lua_identifiers("--[[ meet\n ]] local a = b.c('told') -- due") == {"local", "a", "b", "c"}


def test_no_word_that_was_given_up_comes_back_in_lua() -> None:
    """One thing has one name, on each floor the same."""
    found = {relative(path): OLD_LUA_WORDS & _lua_identifiers(read(path)) for path in lua_files()}
    assert {path: words for path, words in found.items() if words} == {}


def test_no_file_of_the_tests_is_named_after_what_has_another_name_now() -> None:
    """A test is found by the name of what it tests."""
    old = {one: re.compile(rf"(?:^|_){one}(?:_|$)") for one in OLD_TEST_WORDS}
    files = python_files("tests")
    assert [relative(path) for path in files if any(one.search(path.stem) for one in old.values())] == []


def _words(identifier: str) -> set[str]:
    """`ClusterNodes`, `open_nodes`: cluster, nodes; open, nodes."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def test_words_of_the_domain_are_left_to_the_domain() -> None:
    """A *node* is a machine of a pool, and a waiter *withdraws*: how calls travel is said in other words."""
    below = ("allocator._engine.execution", "allocator._engine.transport")
    found = {(module, name) for name, modules in _used().items() for module in modules if _words(name) & DOMAIN}
    own = {(module, name) for module, name in found if module.startswith(below)}
    assert {(module, name) for module, name in own if name not in OF_OTHERS.get(module, ())} == set()


def test_every_folder_of_the_package_has_its_sentence() -> None:
    """The first line of its `__init__.py` says what the folder is for."""
    folders = {path.parent for path in python_files("allocator")}
    assert [one for one in sorted(folders) if not ast.get_docstring(ast.parse(_init(one)))] == []


def _init(folder: Path) -> str:
    return read(folder / "__init__.py")
