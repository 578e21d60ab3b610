"""Inline the functions of a linked script, as each function call costs a closure, its upvalues and a frame.

Modules consist of many small functions for readability, and Redis creates each of them on every call of the script.
A call that is a whole statement, such as `local item = read(call)`, becomes the function's body::

    local result do repeat <the body, `return x` as `result = x break`> until true end local item = result

Only these forms are inlined: `f(...)`, `return f(...)`, `local a, b = f(...)`, `a.b[c] = f(...)`.  A function that
creates functions or returns out of a loop is not inlined.  Names of definitions are marked, `@module.name@`.  All other
names of a body are renamed, so that they cannot clash with names of the caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple

__all__ = ["Function", "Inliner", "Token", "function_of", "lines_of", "tokens_of"]

_TOKEN: Final = re.compile(
    r"(\s*)('(?:\\.|[^'\\\n])*'|@\w+\.\w+@|[A-Za-z_]\w*|\d[\w.]*|\.\.\.|\.\.|[=~<>]=|\S)", re.DOTALL
)
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_ENDS: Final = frozenset({"end", "else", "elseif", "until"})
_STARTS: Final = frozenset({"then", "else", "do", "repeat"})
_GOES_ON: Final = frozenset({"and", "or", "then", "do"})
_NO_TARGETS: Final = frozenset({"for", "if", "elseif", "while", "until", "return", "local", "and", "or", "not", "in"})
_TARGET: Final = re.compile(r"\w+|'[^']*'|[].[+\-,]")


class Token(NamedTuple):
    """A token of the text, the space before it, and its source file and line."""

    space: str
    text: str
    file: str
    line: int


@dataclass(frozen=True)
class Function:
    """A definition that is a function."""

    params: tuple[str, ...]
    body: tuple[Token, ...]
    values: int
    """The maximum number of values it returns; -1: it cannot be inlined."""
    is_straight: bool
    """Whether it returns only at its end, or not at all."""
    hands_on: tuple[str, ...]
    """The functions whose values it returns unchanged."""


def tokens_of(text: str, file: str, line: int) -> list[Token]:
    """The tokens of one line."""
    return [Token(space, word, file, line) for space, word in _TOKEN.findall(text)]


def lines_of(tokens: Iterable[Token]) -> Iterator[tuple[str, str, int]]:
    """The tokens joined to lines, each with its source file and line."""
    for (file, line), words in groupby(tokens, key=lambda token: (token.file, token.line)):
        yield "".join(token.space + token.text for token in words), file, line


def function_of(tokens: Sequence[Token]) -> Function | None:
    """The function that `function(a, b) ... end` defines; None for any other value."""
    if tokens[0].text != "function":
        return None
    closed = next(at for at, token in enumerate(tokens) if token.text == ")")
    params = tuple(token.text for token in tokens[2:closed] if token.text != ",")
    body = tuple(tokens[closed + 1 : -1])
    returns, is_simple = _returns(body)
    values = max((len(_split(body[at + 1 : end])) for at, end in returns), default=0)
    is_straight = not returns or (len(returns) == 1 and returns[0][1] == len(body))
    hands_on = tuple(
        body[at + 1].text.strip("@")
        for at, end in returns
        if end > at + 2
        and body[at + 1].text.startswith("@")
        and body[at + 2].text == "("
        and _closing(body, at + 2) == end - 1
    )
    return Function(params, body, values if is_simple else -1, is_straight, hands_on)


def _returns(body: Sequence[Token]) -> tuple[list[tuple[int, int]], bool]:
    """The positions of the returns, and whether none is in a loop or an inner function."""
    found: list[tuple[int, int]] = []
    is_simple, stack = True, list[str]()
    for at, (_, word, _, _) in enumerate(body):
        if word in ("if", "repeat", "function", "for", "while") or (word == "do" and not _opens_loop(body, at)):
            stack.append(word)
        elif word in ("end", "until"):
            stack.pop()
        elif word == "return":
            end = at
            while end < len(body) and body[end].text not in _ENDS:
                end += 1
            found.append((at, end))
            is_simple = is_simple and not {"repeat", "for", "while"} & set(stack)
        is_simple = is_simple and word not in ("function", "...")
    return found, is_simple


def _opens_loop(body: Sequence[Token], at: int) -> bool:
    """Whether this `do` belongs to a `for` or `while`."""
    for token in reversed(body[:at]):
        if token.text in ("for", "while"):
            return True
        if token.text in ("do", "end", "then", "return", "repeat", "until"):
            return False
    return False


def _split(tokens: Sequence[Token]) -> list[list[Token]]:
    """Split at the commas outside brackets."""
    parts: list[list[Token]] = [[]] if tokens else []
    depth = 0
    for token in tokens:
        depth += (token.text in "([{") - (token.text in ")]}")
        if token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


class Inliner:
    """Expands calls.  `find` returns the function of a marked name, or None if its calls are not inlined."""

    def __init__(self, find: Callable[[str], Function | None]) -> None:
        self._find = find
        self._made = 0

    def expand(self, tokens: Sequence[Token]) -> list[Token]:
        """The tokens with function bodies in place of calls."""
        out: list[Token] = []
        start, at = 0, 0
        while at < len(tokens):
            token = tokens[at]
            before = tokens[at - 1] if at else None
            if before is None or before[2:] != token[2:] or before.text in _STARTS:
                start = len(out)
            function = self._callee(tokens, at)
            closed = _closing(tokens, at + 1) if function else 0
            if function and _is_statement(out[start:]) and _is_over(tokens, closed + 1):
                head = out[start:]
                del out[start:]
                out += self._body(function, head, _split(tokens[at + 2 : closed]), token)
                at = closed + 1
                start = len(out)
            else:
                out.append(token)
                at += 1
        return out

    def _callee(self, tokens: Sequence[Token], at: int) -> Function | None:
        if not tokens[at].text.startswith("@") or tokens[at + 1 : at + 2] == [] or tokens[at + 1].text != "(":
            return None
        function = self._find(tokens[at].text.strip("@"))
        return function if function and function.values >= 0 else None

    def _body(self, function: Function, head: list[Token], args: list[list[Token]], at: Token) -> list[Token]:
        """Expand one call: name its values, bind the parameters, insert the body."""

        def words(text: str) -> list[Token]:
            return tokens_of(" " + text, at.file, at.line)

        self._made += 1
        results = [f"result{self._made}_{n}" for n in range(1, function.values + 1)] if head else []
        names, values, body = _bind(function, args)
        inner = self.expand(_end_returns(body, results, function.is_straight, words))
        out = words(f"local {', '.join(results)}") if results else []
        out += words("do")
        if names:
            out += words(f"local {', '.join(names)}")
            if values:
                out += [*words("="), *values]
        out += inner if function.is_straight else [*words("repeat"), *inner, *words("until true")]
        out += words("end")
        if head:
            out += [head[0]._replace(space=" "), *head[1:], *words(", ".join(results) if results else "nil")]
        return out


def _bind(function: Function, args: list[list[Token]]) -> tuple[list[str], list[Token], Sequence[Token]]:
    """The parameters that must be bound, their values, and the body.

    A value that already has the parameter's name needs no binding, unless the body assigns to it.  A function that is
    passed as a value is named in the body.
    """
    names: list[str] = []
    values: list[Token] = []
    body: Sequence[Token] = function.body
    for n, param in enumerate(function.params):
        value = args[n] if n < len(args) else []
        is_assigned = any(token.text == param and _is_target(body, at) for at, token in enumerate(body[:-1]))
        if len(value) == 1 and value[0].text.startswith("@") and not is_assigned:
            body = [
                token._replace(text=value[0].text) if token.text == param and body[at - 1].text != "." else token
                for at, token in enumerate(body)
            ]
        elif len(value) != 1 or value[0].text != param or is_assigned:
            names.append(param)
            if n < len(args):
                values += [*([Token("", ",", *value[0][2:])] if values else []), *value]
    return names, values, body


def _is_target(body: Sequence[Token], at: int) -> bool:
    """Whether the name here is assigned to: only names and commas stand between its line's start and a `=`."""
    first = last = at
    while first and body[first - 1].line == body[at].line and body[first - 1].text not in _STARTS:
        first -= 1
    while last < len(body) and body[last].line == body[at].line and body[last].text != "=":
        last += 1
    words = [token.text for token in body[first:last]]
    is_assignment = last < len(body) and body[last].text == "=" and body[at + 1].text in ("=", ",")
    return is_assignment and (at == first or body[at - 1].text == ",") and all(map(_TARGET.fullmatch, words))


def _end_returns(
    body: Sequence[Token], results: list[str], is_straight: bool, words: Callable[[str], list[Token]]
) -> list[Token]:
    """The body with each `return x` as `result = x break`."""
    out: list[Token] = []
    done = 0
    for at, end in _returns(body)[0]:
        out += body[done:at]
        value = body[at + 1 : end]
        if value and results:
            # The first token of the line starts a statement, also for a call that is moved here.
            first = body[at]
            out += [first._replace(text=results[0])]
            out += [Token("", f", {name}", *first[2:]) for name in results[1:]]
            out += [Token(" ", "=", *first[2:]), *value]
        elif value and any(token.text == "(" for token in value):
            # The value is not used, but a call may have side effects.
            is_call = value[0].text.startswith("@") and _closing(value, 1) == len(value) - 1
            first = body[at]
            out += [] if is_call else [first._replace(text=word, space=" ") for word in ("local", "_", "=")]
            out += value
        if not is_straight and end < len(body):
            out += words("break")
        done = end
    return [*out, *body[done:]]


def _closing(tokens: Sequence[Token], at: int) -> int:
    depth = 0
    while True:
        depth += (tokens[at].text in "([{") - (tokens[at].text in ")]}")
        if depth == 0:
            return at
        at += 1


def _is_statement(head: Sequence[Token]) -> bool:
    """Whether a call after these tokens is a whole statement: nothing, `return`, or one assignment."""
    texts = [token.text for token in head]
    if not texts or texts == ["return"]:
        return True
    if texts[-1] != "=":
        return False
    if texts[0] == "local":
        return all(_NAME.fullmatch(text) or text == "," for text in texts[1:-1])
    return all(_TARGET.fullmatch(text) for text in texts[:-1]) and not _NO_TARGETS & set(texts)


def _is_over(tokens: Sequence[Token], at: int) -> bool:
    """Whether the statement ends before this token."""
    return at >= len(tokens) or (
        tokens[at].text not in _GOES_ON and bool(_NAME.fullmatch(tokens[at].text) or tokens[at].text.startswith("@"))
    )
