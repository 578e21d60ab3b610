"""Arguments other than quantities: what may pass, what may not, and what the refusal says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import validation
from allocator.errors import InvalidRequest
from allocator.quantity import shown
from allocator.settings import (
    AGE_MAX_S,
    AMOUNT_MAX,
    DEADLINE_MAX_S,
    ID_LENGTH_MAX,
    MANY_ITEMS_MAX,
    METADATA_BYTES_MAX,
    METADATA_ENTRIES_MAX,
    NAME_LENGTH_MAX,
    PREFIX_DEFAULT,
    PREFIX_LENGTH_MAX,
    TTL_MAX_S,
    TTL_MIN_S,
)

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=300, database=None)

Check = Callable[[object], str]

NAMES: list[tuple[Check, str, int, str]] = [
    (validation.pool_name, "pool", NAME_LENGTH_MAX, "._-"),
    (validation.allocation_id, "id", ID_LENGTH_MAX, "._/:-"),
    (validation.owner_name, "owner", ID_LENGTH_MAX, "._/:-"),
    (validation.key_prefix, "prefix", PREFIX_LENGTH_MAX, "._:-"),
]
NEVER_A_NAME = [
    *(
        "",
        " ",
        "a b",
        " a",
        "a ",
        "a\n",
        "\na",
        "a\r",
        "a\tb",
        "a\x00b",
        "a{b",
        "a}b",
        "{a}",
        "a*b",
        "a?b",
        "a[b",
        "a\\b",
    ),
    *(
        "a'b",
        'a"b',
        "a$b",
        "a,b",
        "a=b",
        "a@b",
        "a+b",
        "a~b",
        "\uff41",
        "\u0430",
        "\u0661",
        "a\u0301",
        "\ud800",
        "\u212a",
    ),
    *("x" * 513, "x" * 600, "x" * 10_000_000),
    *(None, 0, 1, 1.5, True, b"a", ["a"], ("a",), {}, object()),
]


def refusal(call: Callable[[], object]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        call()
    return caught.value


class TestNames:
    @pytest.mark.parametrize(("check", "field", "length", "punctuation"), NAMES, ids=[row[1] for row in NAMES])
    def test_a_name_may_be_as_long_as_its_bound_and_no_longer(
        self, check: Check, field: str, length: int, punctuation: str
    ) -> None:
        """The bounds keep keys short and records in Redis's compact form."""
        assert check("x") == "x"
        assert check("X" * length) == "X" * length
        assert check(f"9{punctuation}z{punctuation}") == f"9{punctuation}z{punctuation}"
        error = refusal(lambda: check("x" * (length + 1)))
        assert error.field == field
        assert shown("x" * (length + 1)) in str(error)
        assert f"has {length + 1} characters, at most {length}" in str(error)

    @pytest.mark.parametrize("check", [row[0] for row in NAMES])
    @pytest.mark.parametrize("value", NEVER_A_NAME, ids=lambda value: f"{type(value).__name__}-{str(value)[:8]!a}")
    def test_what_could_break_a_key_or_a_log_is_refused(self, check: Check, value: object) -> None:
        """A brace moves a key to another slot, a newline forges a log line, a look-alike passes for somebody else's."""
        error = refusal(lambda: check(value))
        assert str(error).isascii()
        assert "\n" not in str(error)
        assert len(str(error)) < 250

    @pytest.mark.parametrize("first", "._-")
    def test_a_name_starts_with_a_letter_or_digit(self, first: str) -> None:
        """A leading dash would be read as an option by the command line, a leading dot as a hidden file."""
        for check in (validation.pool_name, validation.allocation_id, validation.owner_name):
            refusal(lambda check=check: check(f"{first}a"))

    @pytest.mark.parametrize("name", ["a:b", "a/b"])
    def test_a_pool_is_one_part_of_a_key(self, name: str) -> None:
        """Colons separate the parts of a key, so none may contain one."""
        refusal(lambda: validation.pool_name(name))

    def test_an_id_has_room_for_a_kubernetes_object(self) -> None:
        """`namespace/name/uid` makes a reconcile loop crash-safe."""
        name = "lab-team/linux-course-17/8e0b1a0e-3f53-4d1c-9b9e-2a0a1b2c3d4e"
        assert validation.allocation_id(name) == name
        longest = f"{'n' * 63}/{'o' * 253}/{'0' * 36}"
        assert validation.allocation_id(longest) == longest
        assert validation.allocation_id(f"{'c' * 63}/{'k' * 63}/{longest}"), "with a cluster and a kind"
        assert validation.owner_name("system:serviceaccount:labs:controller")

    def test_a_prefix_may_be_made_of_parts_but_has_no_slash(self) -> None:
        """`team:allocator` is how people share a Redis."""
        assert validation.key_prefix(PREFIX_DEFAULT) == PREFIX_DEFAULT
        assert validation.key_prefix("team:allocator") == "team:allocator"
        refusal(lambda: validation.key_prefix("a/b"))

    def test_a_member_of_an_enumeration_becomes_its_plain_text(self) -> None:
        """Whatever kind of str it was, formatting it into a key must give its value."""

        class Pool(StrEnum):
            LABS = "labs"

        for check, *_ in NAMES:
            assert type(check(Pool.LABS)) is str

    @EXAMPLES
    @given(text=st.text(st.characters(), max_size=140))
    def test_any_text_is_a_plain_name_or_a_refusal(self, text: str) -> None:
        """Nothing but InvalidRequest comes out, with the argument's name."""
        for check, field, length, punctuation in NAMES:
            try:
                name = check(text)
            except InvalidRequest as refused:
                answer: InvalidRequest | str = refused
            else:
                answer = name
            if isinstance(answer, InvalidRequest):
                assert answer.field == field
            else:
                assert answer == text
                assert 0 < len(text) <= length
                assert all(
                    character.isascii() and (character.isalnum() or character in punctuation) for character in text
                )


class TestMetadata:
    def test_entries_are_sorted(self) -> None:
        """The same entries make the same call, in whatever order they were written."""
        assert validation.metadata({"b": "2", "a": "1"}) == (("a", "1"), ("b", "2"))
        assert validation.metadata(None) == validation.metadata({}) == ()

    def test_values_are_free_text(self) -> None:
        """It is the one place for it."""
        text = "Kurs \u201eLinux\u201c\n{x}\x00\U0001f427"
        assert validation.metadata({"note": text}) == (("note", text),)

    def test_as_many_entries_as_are_allowed_are_taken_and_one_more_is_not(self) -> None:
        """Records are read by people and kept in memory."""
        most = {f"k{number}": "" for number in range(METADATA_ENTRIES_MAX)}
        assert len(validation.metadata(most)) == METADATA_ENTRIES_MAX
        assert "17 entries" in str(refusal(lambda: validation.metadata({**most, "more": ""})))

    @pytest.mark.parametrize("character", ["x", "\u00e9", "\u20ac", "\U0001f427"])
    def test_the_size_is_that_of_utf8_with_the_keys(self, character: str) -> None:
        """It is what Redis stores; counting characters would let four times as much pass."""
        width = len(character.encode())
        most = character * ((METADATA_BYTES_MAX - 4) // width) + "x" * ((METADATA_BYTES_MAX - 4) % width)
        assert validation.metadata({"note": most})
        error = refusal(lambda: validation.metadata({"note": most[:-1], "more": character}))
        assert error.field == "metadata"
        assert f"at most {METADATA_BYTES_MAX}" in str(error)
        refusal(lambda: validation.metadata({"note": most + "x"}))

    def test_a_huge_value_is_refused_before_it_is_encoded(self) -> None:
        """The message says which entry it was."""
        assert "for 'note' is longer" in str(refusal(lambda: validation.metadata({"note": "x" * 5120})))

    @pytest.mark.parametrize(
        "given", ["a=b", b"a", 1, [("a", "b")], {"a"}, True, object()], ids=lambda g: type(g).__name__
    )
    def test_what_is_no_mapping_is_refused(self, given: object) -> None:
        """A wrong type is a wrong request, not a TypeError from within the library."""
        assert refusal(lambda: validation.metadata(given)).field == "metadata"

    @pytest.mark.parametrize(
        "key", ["", "a b", "a:b", "-a", "a\n", "\u00e9", "x" * 65, "\ud800", None, 1, b"a", ("a",)], ids=shown
    )
    def test_a_key_is_a_name(self, key: object) -> None:
        """It becomes part of a field of the record."""
        error = refusal(lambda: validation.metadata({key: "1"}))
        assert error.field == "metadata"
        assert shown(key) in str(error)

    def test_a_key_may_be_as_kubernetes_writes_labels(self) -> None:
        """People copy their labels."""
        assert validation.metadata({"app.kubernetes.io/name": "lab"}) == (("app.kubernetes.io/name", "lab"),)

    @pytest.mark.parametrize("key", ["allocated", "capacity", "cpu.allocated", "x.y.capacity"])
    def test_a_key_cannot_pass_for_an_amount(self, key: str) -> None:
        """The field `meta.cpu.allocated` of a record would be un-charged at its release."""
        assert "mark the amounts" in str(refusal(lambda: validation.metadata({key: "1"})))
        assert validation.metadata({f"{key}-at": "1", key.replace(".", "_") + "_by": "2"})

    @pytest.mark.parametrize("value", [None, 1, 1.5, True, b"x", ["x"], {}], ids=shown)
    def test_a_value_is_a_text(self, value: object) -> None:
        """A number would come back as a text; better to say so before."""
        error = refusal(lambda: validation.metadata({"a": value}))
        assert "for 'a' is not a text" in str(error)

    def test_a_text_that_has_no_utf8_is_refused(self) -> None:
        """A lone surrogate comes from a file name or a broken JSON, and the connection could not send it."""
        assert "UTF-8" in str(refusal(lambda: validation.metadata({"a": "x\ud800"})))

    @EXAMPLES
    @given(entries=st.dictionaries(st.text(max_size=8), st.text(st.characters(), max_size=20), max_size=20))
    def test_any_mapping_of_texts_is_taken_whole_or_refused(self, entries: dict[str, str]) -> None:
        """Nothing is dropped, cut or replaced in silence."""
        try:
            pairs = validation.metadata(entries)
        except InvalidRequest:
            return
        assert dict(pairs) == entries
        assert list(pairs) == sorted(pairs)


NEVER_A_TIME: list[Any] = [
    *(float("nan"), float("inf"), float("-inf"), True, False, "60", "", b"60", Decimal(60), [60], (), {}, object()),
    *(1j, -1, -0.001, 10**5000, -(10**5000), 1e300, timedelta(seconds=-1), timedelta.max),
]


def kind(value: object) -> str:
    return type(value).__name__


class TestTimes:
    @pytest.mark.parametrize(
        ("ttl", "milliseconds"),
        [
            (None, 0),
            (TTL_MIN_S, 1000),
            (1, 1000),
            (60, 60_000),
            (1.5, 1500),
            (1.1, 1100),
            (2.3456789, 2346),
            (timedelta(minutes=5), 300_000),
            (timedelta(milliseconds=1001), 1001),
            (TTL_MAX_S, 2_592_000_000),
            (timedelta(days=30), 2_592_000_000),
        ],
        ids=str,
    )
    def test_a_ttl_is_whole_milliseconds(self, ttl: object, milliseconds: int) -> None:
        """It is what the scripts add to the server's clock; None pins."""
        answer = validation.ttl_ms(ttl)
        assert answer == milliseconds
        assert type(answer) is int

    @pytest.mark.parametrize("ttl", [*NEVER_A_TIME, 0, 0.0, 0.999, TTL_MAX_S + 1, 365 * 86_400, timedelta(0)], ids=kind)
    def test_a_ttl_that_could_not_be_kept_is_refused(self, ttl: object) -> None:
        """Zero would be a grant that is lost at once, years a leak; NaN passes comparisons written carelessly."""
        assert refusal(lambda: validation.ttl_ms(ttl)).field == "ttl"

    def test_the_refusal_of_a_ttl_says_what_is_possible(self) -> None:
        """Who writes 0 wants it not to expire."""
        text = str(refusal(lambda: validation.ttl_ms(0)))
        assert text == "ttl: 0 is not within 1s and 30d; None pins the allocation"

    @pytest.mark.parametrize(
        ("age", "milliseconds"),
        [(0, 0), (0.25, 250), (3600, 3_600_000), (timedelta(hours=24), 86_400_000), (AGE_MAX_S, 316_224_000_000)],
        ids=str,
    )
    def test_an_age_is_whole_milliseconds(self, age: object, milliseconds: int) -> None:
        """Zero is an age: everything is at least that old."""
        assert validation.age_ms(age, "older_than") == milliseconds

    @pytest.mark.parametrize("age", [*NEVER_A_TIME, None, AGE_MAX_S + 1], ids=kind)
    def test_a_wrong_age_is_refused_under_the_name_of_its_argument(self, age: object) -> None:
        """A cleanup with a wrong age must not take anything."""
        assert refusal(lambda: validation.age_ms(age, "older_than")).field == "older_than"

    @pytest.mark.parametrize("value", [0.001, 1, 10.0, DEADLINE_MAX_S, timedelta(seconds=5)], ids=str)
    def test_a_deadline_is_seconds(self, value: Any) -> None:
        """It bounds a call with all its retries."""
        answer = validation.deadline_s(value)
        assert answer == (value.total_seconds() if isinstance(value, timedelta) else value)
        assert type(answer) is float

    @pytest.mark.parametrize("value", [*NEVER_A_TIME, None, 0, 0.0, DEADLINE_MAX_S + 0.001], ids=kind)
    def test_a_deadline_without_end_or_beyond_the_tombstones_is_refused(self, value: object) -> None:
        """A copy of a call must not arrive after the store has forgotten that it ended."""
        assert refusal(lambda: validation.deadline_s(value)).field == "deadline"


class TestFence:
    def test_none_is_any_fence(self) -> None:
        """Scripts take 0 for it."""
        assert validation.fence(None) == 0

    @pytest.mark.parametrize("value", [1, 1_700_000_000_000_000, AMOUNT_MAX])
    def test_a_fence_is_a_positive_exact_integer(self, value: int) -> None:
        """Above 2^53-1 two fences could be taken for one."""
        assert validation.fence(value) == value

    @pytest.mark.parametrize(
        "value", [0, -1, AMOUNT_MAX + 1, 10**5000, True, 1.0, "1", b"1", [1], float("nan")], ids=kind
    )
    def test_anything_else_is_refused(self, value: object) -> None:
        """A zero that came from a bug would turn the check off."""
        assert refusal(lambda: validation.fence(value)).field == "fence"


class TestBatch:
    def test_any_iterable_is_read_once(self) -> None:
        """Generators are taken, and none is fine."""
        assert validation.batch((number for number in range(3)), "items") == [0, 1, 2]
        assert validation.batch([], "items") == []

    def test_no_more_is_read_than_shows_that_there_is_too_much(self) -> None:
        """An endless generator is refused, not followed."""
        seen: list[int] = []

        def endless() -> Iterator[int]:
            while True:
                seen.append(len(seen))
                yield len(seen)

        error = refusal(lambda: validation.batch(endless(), "items", 10))
        assert (error.field, str(error)) == ("items", "items: more than 10 items")
        error = refusal(lambda: validation.batch(range(4), "items", 3, "that wait as one"))
        assert str(error) == "items: more than 3 items that wait as one"
        assert len(seen) == 11

    def test_the_bound_itself_is_taken(self) -> None:
        """As many as one call of the `*_many` methods may have."""
        assert len(validation.batch(range(MANY_ITEMS_MAX), "items")) == MANY_ITEMS_MAX
        refusal(lambda: validation.batch(range(MANY_ITEMS_MAX + 1), "items"))

    @pytest.mark.parametrize("items", [None, 1, "abc", b"abc", {"cpu": "1"}, object()], ids=kind)
    def test_one_item_that_should_stand_in_a_list_is_refused(self, items: Any) -> None:
        """`release_many("abc")` must not release `a`, `b` and `c`."""
        assert refusal(lambda: validation.batch(items, "ids")).field == "ids"

    def test_an_error_of_the_callers_generator_is_the_callers(self) -> None:
        """It is not the request that is wrong then."""

        def broken() -> Iterator[int]:
            yield 1
            raise KeyError("theirs")

        with pytest.raises(KeyError, match="theirs"):
            validation.batch(broken(), "items")
