"""Functions where they are called: what they do and answer stays the same."""

from __future__ import annotations

from typing import Any

import pytest

from allocator._engine.protocol.inlining import Function, Inliner, function_of, lines_of, tokens_of

lua51: Any = pytest.importorskip("lupa.lua51", reason="the extra `embedded` is not installed")

FUNCTIONS = {
    "m.early": "function(a) if a == 1 then return 'one' end if a == 2 then return end return 'many' end",
    "m.last": "function(a, b) local sum = a + (b or 10) return sum end",
    "m.pair": "function(a) if a then return a, 2 end return 3, 4 end",
    "m.shadows": "function(x) local value = x * 2 return value end",
    "m.assigns": "function(n) n = n + 1 return n end",
    "m.calls": "function(f, a) local got = f(a) return got end",
    "m.tail": "function(a) return @m.last@(a, 1) end",
    "m.loops": "function(list) local n = 0 for i = 1, #list do if list[i] == 0 then break end n = n + list[i] end "
    "return n end",
}  # fmt: skip


def _defined(name: str) -> Function:
    function = function_of(tokens_of(FUNCTIONS[name], "m.lua", 1))
    assert function is not None
    return function


def _run(text: str) -> Any:
    """The text with calls in place; what it says must not name a function any more."""
    tokens = [token for n, line in enumerate(text.splitlines(), 2) for token in tokens_of(line, "main.lua", n)]
    expanded = "\n".join(line for line, _, _ in lines_of(Inliner(_defined).expand(tokens)))
    assert "@" not in expanded
    return lua51.LuaRuntime().execute(expanded)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("local x = @m.early@(1)\nreturn x", "one"),
        ("local x = @m.early@(2)\nreturn x == nil", True),
        ("local x = @m.early@(3)\nreturn x", "many"),
        ("local t = {}\nt['x'] = @m.last@(1)\nreturn t.x", 11),
        ("local a, b = @m.pair@(false)\nreturn a * 10 + b", 34),
        ("local value = 4\nlocal got = @m.shadows@(value)\nreturn value + got", 12),
        ("local x = 3\nlocal value = @m.shadows@(x)\nreturn value", 6),
        ("local n = 1\nlocal m = @m.assigns@(n)\nreturn n * 10 + m", 12),
        ("local x = @m.calls@(@m.early@, 1)\nreturn x", "one"),
        ("return @m.tail@(4)", 5),
        ("local n = @m.loops@({1, 2, 0, 5})\nreturn n", 3),
        ("local n = 0\nfor i = 1, 3 do\nlocal one = @m.last@(i, 0)\nn = n + one\nend\nreturn n", 6),
        ("local n = 1\nif n == 1 then n = @m.last@(n, 1) end\nreturn n", 2),
        ("@m.last@(1)\nreturn 7", 7),
    ],
)
def test_a_call_in_place_does_what_the_call_does(text: str, answer: object) -> None:
    """Names of the caller and of the function do not meet."""
    assert _run(text) == answer


@pytest.mark.parametrize(
    "text", ["local x = @m.last@(1) + 1", "local x = {@m.last@(1)}", "if @m.last@(1) then return end", "f(@m.last@(1))"]
)
def test_a_call_inside_an_expression_stays(text: str) -> None:
    """What comes before it must be computed before it."""
    tokens = tokens_of(text, "main.lua", 2)
    assert Inliner(_defined).expand(tokens) == tokens


@pytest.mark.parametrize(
    "text", ["function() for i = 1, 2 do return i end end", "function() return function() end end"]
)
def test_what_returns_out_of_a_loop_or_makes_functions_stays_a_function(text: str) -> None:
    """A `break` would leave the loop only."""
    function = function_of(tokens_of(text, "m.lua", 1))
    assert function is not None
    assert function.values == -1


def test_each_line_keeps_where_it_came_from() -> None:
    """Errors are told by the files that people edit."""
    tokens = tokens_of("local x = @m.last@(1)", "main.lua", 7)
    origins = {(file, line) for _, file, line in lines_of(Inliner(_defined).expand(tokens))}
    assert origins == {("main.lua", 7), ("m.lua", 1)}
