"""URLs: each part is used as it is written, or refused by its name; and no secret is shown."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import ssl
import string
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import pytest
import redis.asyncio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allocator._engine.transport.target import ClusterTarget, SentinelTarget, ServerTarget, Target
from allocator._engine.transport.url_parts import URL_SCHEMES, parse_url
from allocator._engine.transport.urls import redact_url, resolve_target
from allocator.errors import InvalidRequest

PARTS: Final = (
    "scheme", "user name", "password", "@", "#", "host", "port", "IPv6", "zone", "path", "database",
    "service", "option", "quotes", "white space", "it is empty", "embedded://", "memory://",
)  # fmt: skip
"""What a refusal may name."""


def options_of(target: Target) -> dict[str, Any]:
    """What the connection of a target is made with."""
    make = target.connector.make
    assert make is not None
    connection: Any = make(1.0)
    names = ("host", "port", "path", "db", "username", "password", "client_name", "protocol")
    return {name: getattr(connection, name) for name in names if hasattr(connection, name)}


def refusal(url: str) -> str:
    """Why a URL is refused."""
    with pytest.raises(InvalidRequest) as caught:
        resolve_target(url)
    assert caught.value.field == "url"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "a traceback would show what redis-py says, or the URL"
    return str(caught.value)


def outcome(url: str) -> Target | InvalidRequest:
    """The target of a URL, or why it is refused."""
    try:
        return resolve_target(url)
    except InvalidRequest as error:
        return error


# -- what is used ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"host": "h", "port": 6379, "db": 0, "username": None, "password": None}),
        ("REDIS://Some-Host_1.example.:7", {"host": "Some-Host_1.example.", "port": 7}),
        ("valkey://u:p%23:%2F@h/3", {"username": "u", "password": "p#:/", "db": 3}),
        ("ValKey://:a:b@h/", {"username": None, "password": "a:b", "db": 0}),
        ("redis://only-user@h", {"username": "only-user", "password": None}),
        ("redis://:p%C3%A4ss%0A@h", {"password": "päss\n"}),
        ("redis://:päss@h", {"password": "päss"}),
        ("redis://[::1]:7/1", {"host": "::1", "port": 7, "db": 1}),
        ("redis://[fe80::1%25eth0]", {"host": "fe80::1%eth0", "port": 6379}),
        ("redis://h?db=2&client_name=a:/?b&protocol=2", {"db": 2, "client_name": "a:/?b", "protocol": 2}),
        ("redis://h?username=u&password=%2B%25", {"username": "u", "password": "+%"}),
        ("unix:///run/a%20b%40c.sock?db=1", {"path": "/run/a b@c.sock", "db": 1}),
        ("UNIX://u:p@/run/redis.sock", {"path": "/run/redis.sock", "username": "u", "password": "p"}),
    ],
)
def test_each_part_is_used_as_it_is_written(url: str, expected: dict[str, Any]) -> None:
    """By connections of both kinds."""
    target = resolve_target(url)
    assert expected.items() <= options_of(target).items()
    make = target.connector.make_async
    assert make is not None

    async def connection() -> Any:
        return await make()

    awaited = asyncio.run(connection())
    for name, value in expected.items():
        assert getattr(awaited.connection, name) == value


@pytest.mark.parametrize("scheme", [one for one in URL_SCHEMES if one not in ("unix", "embedded", "memory")])
def test_every_scheme_leads_to_its_kind_of_target(scheme: str) -> None:
    """In any case, by TLS where it says so."""
    kinds = {"": ServerTarget, "cluster": ClusterTarget, "sentinel": SentinelTarget}
    brand, _, kind = scheme.partition("+")
    for written in (scheme, scheme.upper(), scheme.title()):
        target = resolve_target(f"{written}://h:1{'/ledger' if kind == 'sentinel' else ''}")
        assert type(target) is kinds[kind]
        assert target.connector.make is not None
        connection: Any = target.connector.make(1.0)
        assert type(connection).__name__ == ("SSLConnection" if brand in ("rediss", "valkeys") else "Connection")


def test_options_for_tls_are_used(tmp_path: Path) -> None:
    """With the values that redis-py has for them; before 6.0 its asyncio connection takes no password of a key."""
    authority = tmp_path / "c.pem"
    authority.touch()
    chosen = f"ssl_ca_certs={authority}&ssl_cert_reqs=none&ssl_check_hostname=No&ssl_min_version=772"
    if "ssl_password" in inspect.signature(redis.asyncio.SSLConnection.__init__).parameters:
        chosen += "&ssl_password=a%26b"
    target = resolve_target(f"valkeys://h?{chosen}")
    assert target.connector.make is not None
    connection: Any = target.connector.make(1.0)
    assert connection.ca_certs == str(authority)
    assert (connection.cert_reqs, connection.check_hostname) == (ssl.CERT_NONE, False)
    assert connection.ssl_min_version == ssl.TLSVersion.TLSv1_3
    assert "ssl_password" not in chosen or connection.certificate_password == "a&b"


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("", "it is empty"),
        ("localhost:7411", "write redis://localhost:7411"),
        ("localhost", "write redis://localhost"),
        ("redis.example", "write redis://redis.example"),
        ("[::1]:7411", r"write redis://\[::1\]:7411"),
        ("/run/redis.sock", "write unix:///run/redis.sock"),
        ("redis:localhost", "after the scheme 'redis' stands ://"),
        ("unix:/run/redis.sock", "after the scheme 'unix' stands ://"),
        ("http://h", "'http' is not a scheme"),
        ("redis://h\n", "ends with white space or a newline"),
        (" redis://h", "begins with white space"),
        ("'redis://h'", "in quotes"),
        ('"redis://h"', "in quotes"),
        ("redis://h?client_name=a b", "a space as %20"),
        ("redis://:p\u200bq@h", "unprintable"),
        ("redis://h?a=" + "x" * 17_000, "longer than 16384 characters"),
        ("redis://:pa#ss@h", "%23 for #"),
        ("redis://:pa?ss@h", "%3F for ?"),
        ("redis://:pa/ss@h", "%2F for /"),
        ("redis://:pa@ss@h", "%40 for @"),
        ("redis://:pa[ss@h", "%5B"),
        ("redis://:pa%ss@h", "the password has a %"),
        ("redis://us%er@h", "the user name has a %"),
        ("redis://:%ff@h", "the password has %-escapes that are no UTF-8"),
        ("redis://@h", "leave out the @"),
        ("redis://:@h", "the password before the @ are empty"),
        ("redis://u:@h", "the password before the @ is empty"),
        ("redis://h?client_name=a@b", "an @ elsewhere is written %40"),
        ("redis://:a@h?password=b", "the password is given twice"),
        ("redis://a@h?username=b", "the username is given twice"),
        ("redis://", "the host is missing"),
        ("redis:///0", "the host is missing"),
        ("redis://:6379", "the host is missing"),
        ("redis://h:", "the port is missing"),
        *((f"redis://h:{port}", "the port is a number") for port in ("0", "65536", "x", "-1", "+1", "01", "٣", "1_0")),
        ("redis://::1", "in brackets"),
        ("redis://::1:6379", "in brackets"),
        ("redis://[::1", "in brackets"),
        ("redis://[::1]6379", "in brackets"),
        ("redis://[127.0.0.1]", "no IPv6 address"),
        ("redis://[fe80::1%eth0]", "a zone follows it after %25"),
        ("redis://[fe80::1%25]", "the zone"),
        ("redis://h%41", "the host"),
        ("redis://a..b", "the host"),
        (f"redis://{'a' * 64}", "the host"),
        ("redis://a b", "white space"),
        ("redis://höst", "xn--"),
        ("redis://a,b", r"several hosts: write redis\+cluster"),
        ("valkeys://a,b", r"several hosts: write valkeys\+cluster"),
        *((f"redis://h/{path}", "the database") for path in ("x", "-1", "1/2", "1/", "+1", "01", "2147483648", "٣")),
        ("redis://h/1?db=1", "the database is given twice"),
        *((f"redis://h?db={db}", "the option db is a number") for db in ("x", "-1", "2147483648", "1.0")),
        ("redis://h?db=", "the option db has no value"),
        ("redis://h?db", "the option db has no value"),
        ("redis://h?db=1&db=2", "the option db is given twice"),
        ("redis://h?db=1&", "options, name=value"),
        ("redis://h?client_name=a+b", r"%2B for a plus"),
        ("redis://h?client_name=a%20b", "the option client_name"),
        ("redis://h?db=1#x", "fragment"),
        ("redis://h#", "fragment"),
        ("redis://h?no_such=1", "the option no_such is unknown"),
        ("redis://h?host=other", "the option host is unknown"),
        ("redis://h?protocol=4", "the option protocol is a number from 2 to 3"),
        ("redis://h?socket_keepalive=fasle", "the option socket_keepalive is true or false"),
        ("redis://h?ssl_ca_certs=/c", "write rediss://"),
        ("rediss://h?ssl_cert_reqs=maybe", "the option ssl_cert_reqs is one of"),
        ("rediss://h?ssl_min_version=1", "the option ssl_min_version is 771"),
        ("rediss://h?ssl_include_verify_flags=x", "ssl.VerifyFlags"),
        ("redis://h?sentinel_password=x", r"is for redis\+sentinel"),
        ("unix:///s?socket_keepalive=1", "the option socket_keepalive is unknown here"),
        ("unix://", "three slashes"),
        ("unix:///", "three slashes"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix:///run/a%00b", "none of them zero"),
        (f"unix:///{'x' * 107}", "at most 107 bytes"),
        ("redis+cluster://a:1,", "the host is missing"),
        ("redis+cluster://a/1", "the database is not 0"),
        ("redis+cluster://a?db=1", "the database is not 0"),
        ("redis+sentinel://a", "the name of the service"),
        ("redis+sentinel://a/s/", "the database after the service is missing"),
        ("redis+sentinel://a/s/x", "the database"),
        ("redis+sentinel://a/s?sentinel_db=1", "sentinel_username and sentinel_password"),
        ("embedded://name", "nothing stands after embedded://"),
        ("memory://a?b", "after memory:// stands a name"),
    ],
)  # fmt: skip
def test_a_part_that_cannot_be_used_is_refused_by_its_name(url: str, named: str) -> None:
    """With what to write."""
    assert re.search(named if "\\" in named else re.escape(named), refusal(url))


@pytest.mark.parametrize(
    "text", ["user:c4n4ry", "user:c4n4ry@h", "c4n4ry://x:y@h"[7:], "redis:user:c4n4ry@h:1", "c4n4ry@h"]
)
def test_a_text_without_a_scheme_may_be_a_secret(text: str) -> None:
    """Only an address with a number for its port is repeated in the advice."""
    assert "c4n4ry" not in refusal(text)


# -- any URL at all ----------------------------------------------------------------------------------------------------

printable = st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cn"))
texts = st.one_of(
    st.text(printable, max_size=12), st.text(st.sampled_from("/?#@:[]%&=+,;'\"\\ \n%2F%zz0a"), max_size=8)
)
schemes = st.one_of(st.sampled_from([*URL_SCHEMES, *(one.upper() for one in URL_SCHEMES)]), texts)
hosts = st.one_of(st.sampled_from(["h", "h:1", "[::1]:2", "a.b", "a,b:3", "::1", ""]), texts)
tails = st.one_of(
    st.sampled_from(["", "/", "/0", "/ledger", "/ledger/1", "?db=1", "/run/x.sock"]), texts.map(lambda text: "/" + text)
)
SECRET: Final = "Zq7"
"""What no other text here has in it, so that a piece of a secret is seen wherever it turns up."""
letters = st.text(string.ascii_lowercase, max_size=3)
secrets = st.lists(st.tuples(st.just(SECRET), texts, letters).map("".join), min_size=1, max_size=3).map("".join)


@settings(derandomize=True, max_examples=150, deadline=None, database=None)
@given(schemes, st.text(string.ascii_lowercase, max_size=5), secrets, hosts, tails)
@example("redis", "", f"{SECRET}/{SECRET}", "h", "")
@example("redis", "", f"1?{SECRET}={SECRET}", "h", "")
@example("redis", "u", f"6379/{SECRET}#{SECRET}", "h", "")
@example("unix", "", f"{SECRET}/{SECRET}", "", "/run/x.sock")
@example(f"{SECRET}://redis", "", SECRET, "h", "")
def test_no_part_of_a_secret_is_shown(scheme: str, user: str, secret: str, host: str, tail: str) -> None:
    """Neither in a refusal nor in the target's repr, nor by `redact_url`; wherever the secret is cut."""
    url = f"{scheme}://{user}:{secret}@{host}{tail}"
    if SECRET in f"{scheme}{user}{host}{tail}":
        return
    assert SECRET not in redact_url(url)
    found = outcome(url)
    assert SECRET not in f"{found} {found!r} {found.__context__ if isinstance(found, Exception) else found.address}"


@settings(derandomize=True, max_examples=150, deadline=None, database=None)
@given(schemes, texts, texts, hosts, tails, texts)
def test_any_url_is_used_as_given_or_refused_by_name(
    scheme: str, user: str, password: str, host: str, tail: str, option: str
) -> None:
    """A URL that is accepted can be put together again from what the connection uses."""
    credentials = f"{user}:{password}@" if user or password else ""
    url = f"{scheme}://{credentials}{host}{tail}{'?client_name=' + option if option else ''}"
    target = outcome(url)
    if isinstance(target, InvalidRequest):
        assert target.field == "url"
        assert any(part in str(target).removeprefix(f"cannot use the URL {redact_url(url)!r}: ") for part in PARTS)
        return
    parts = parse_url(url)
    if parts.kind in ("embedded", "memory"):
        assert url.lower().startswith(f"{parts.kind}://")
        return
    used = options_of(target)
    assert (used["username"] or "") == parts.username
    assert (used["password"] or "") == parts.password
    assert url.count("@") == bool(parts.username or parts.password)
    if isinstance(target, ServerTarget) and parts.kind == "server":
        assert (used["host"], used["port"]) == (parts.hosts[0][0], parts.hosts[0][1] or 6379)
    for part in (user, password):
        if credentials and part:
            assert unquote(part) in (parts.username, parts.password) or ":" in part


@settings(derandomize=True, max_examples=100, deadline=None, database=None)
@given(
    st.text(printable, min_size=1, max_size=20),
    st.text(printable, min_size=1, max_size=20),
    st.text(printable, max_size=20),
)
def test_any_user_and_password_can_be_written(user: str, password: str, name: str) -> None:
    """By their %-escapes, before the host and as options."""
    quoted = quote(user, safe=""), quote(password, safe="")
    for url in (f"redis://{quoted[0]}:{quoted[1]}@h", f"redis://h?username={quoted[0]}&password={quoted[1]}"):
        used = options_of(resolve_target(url))
        assert (used["username"], used["password"]) == (user, password)


# -- no URL ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.MonkeyPatch:
    """An environment without any of the variables."""
    for name in ("ALLOCATOR_REDIS_URL", "REDIS_URL", "ALLOCATOR_REQUIRE_URL"):
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.WARNING, "allocator")
    return monkeypatch


def test_without_a_url_there_is_a_warning(bare: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Each pod that forgot the variable would grant from a ledger of its own."""
    assert resolve_target().address == "embedded://"
    assert "neither ALLOCATOR_REDIS_URL nor REDIS_URL is set: using embedded://" in caplog.text
    caplog.clear()
    resolve_target("embedded://")
    assert not caplog.records, "who says it means it"


@pytest.mark.parametrize("empty", [None, "", " \n"])
def test_the_environment_may_require_a_url(bare: pytest.MonkeyPatch, empty: str | None) -> None:
    """Of the native clients as of the original API; an empty variable is none, and is named."""
    bare.setenv("ALLOCATOR_REQUIRE_URL", "1")
    if empty is not None:
        bare.setenv("REDIS_URL", empty)
    with pytest.raises(InvalidRequest, match="ALLOCATOR_REQUIRE_URL says that one is required") as caught:
        resolve_target()
    assert caught.value.field == "url"
    assert ("REDIS_URL is there, but empty" in str(caught.value)) == (empty is not None)
    assert resolve_target("redis://h").address == "redis://h"


def test_an_empty_variable_is_named_where_another_one_counts(
    bare: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A template that came out empty must not lead to everybody's server without a word."""
    bare.setenv("ALLOCATOR_REDIS_URL", "")
    bare.setenv("REDIS_URL", "redis://everybodys")
    assert resolve_target().address == "redis://everybodys"
    assert "ALLOCATOR_REDIS_URL is empty and not used: the server is that of REDIS_URL" in caplog.text


def test_a_newline_in_a_variable_is_refused(bare: pytest.MonkeyPatch) -> None:
    """As in an argument, rather than removed in one of the two."""
    bare.setenv("REDIS_URL", "redis://h\n")
    with pytest.raises(InvalidRequest, match="ends with white space or a newline"):
        resolve_target()
