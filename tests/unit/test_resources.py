"""`Resources`: a vector that cannot be changed, and what callers may write for one."""

from __future__ import annotations

import copy
import operator
import pickle
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.errors import InvalidQuantity, InvalidRequest
from allocator.quantity import shown
from allocator.resources import Resources, resource_name
from allocator.settings import RESOURCES_MAX

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=300, database=None)

names = st.sampled_from(["cpu", "memory", "storage", "nvidia.com/gpu", "pods"])
vectors = st.dictionaries(names, st.integers(0, 10**12)).map(Resources.of)

BUILDERS = [Resources.request, Resources.capacity]
Builder = Callable[[Any], Resources]

NOT_A_MAPPING = [None, "cpu=1", b"cpu", 1, 1.5, [("cpu", "1")], {"cpu"}, object(), True]
WRONG_NAMES = [
    *("", " ", "cpu ", " cpu", "cpu\n", "c pu", "-cpu", "cpu-", ".cpu", "cpu.", "_cpu", "cpu{x}", "cpu:x", "c\x00pu"),
    *(
        "\uff43pu",
        "cp\u00fc",
        "\ud800",
        "a/b/c",
        "/gpu",
        "nvidia.com/",
        "NVIDIA.com/gpu",
        "nvidia..com/gpu",
        "-a.com/gpu",
    ),
    *("a_b.com/gpu", "a-.com/gpu", "x" * 64, "x" * 10_000_000, f"{'a' * 64}/b", f"{'a.' * 127}aa/{'b' * 62}"),
    *(None, 1, 1.5, True, b"cpu", ("cpu",)),
]
GOOD_NAMES = [
    *("cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "nvidia.com/gpu", "a", "A", "0", "x" * 63, "a.b_c-D9"),
    *("a-b.c0.example/Name", f"{'a' * 63}.b/c", f"{'a.' * 126}a/{'b' * 63}"),
]


def refusal(call: Callable[[], object]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        call()
    return caught.value


class TestNames:
    @pytest.mark.parametrize("name", GOOD_NAMES, ids=shown)
    def test_a_name_that_kubernetes_would_take_is_taken(self, name: str) -> None:
        """Extended resources such as `nvidia.com/gpu` need no declaration anywhere."""
        assert resource_name(name) == name

    @pytest.mark.parametrize("name", WRONG_NAMES, ids=shown)
    def test_any_other_name_is_refused(self, name: object) -> None:
        """A name becomes part of a field of a hash and of error messages: no newline, no look-alike, no megabyte."""
        error = refusal(lambda: resource_name(name))
        assert error.field == "resource"
        assert shown(name) in str(error)
        for build in BUILDERS:
            assert refusal(lambda build=build: build({name: "1"})).field == "resource"

    @EXAMPLES
    @given(text=st.text(st.characters(), max_size=140))
    def test_any_text_is_a_name_or_a_refusal(self, text: str) -> None:
        """Nothing but InvalidRequest comes out, and what passes is plain ASCII."""
        try:
            name = resource_name(text)
        except InvalidRequest:
            return
        assert name == text
        assert name.isascii()


class TestRequest:
    def test_quantities_become_amounts_in_the_order_of_the_names(self) -> None:
        """The order is part of the value: it is how requests are compared, hashed and written."""
        request = Resources.request({"nvidia.com/gpu": 2, "memory": "1.5Gi", "cpu": 0.5})
        assert list(request.items()) == [("cpu", 500), ("memory", 1_610_612_736), ("nvidia.com/gpu", 2000)]

    def test_a_request_rounds_up_and_a_capacity_down(self) -> None:
        """Otherwise a thousand requests of a tenth of a millicore would cost nothing."""
        assert Resources.request({"cpu": "0.1m"}) == Resources.of({"cpu": 1})
        assert Resources.capacity({"cpu": "1.9m", "memory": "0.5"}) == Resources.of({"cpu": 1, "memory": 0})

    def test_zeros_are_dropped_from_a_request_and_kept_in_a_capacity(self) -> None:
        """A zero in a request charges nothing; a capacity of zero says that there is none."""
        assert Resources.request({"cpu": "1", "memory": 0, "pods": "0"}) == Resources.of({"cpu": 1000})
        assert Resources.capacity({"cpu": "1", "memory": 0}) == Resources.of({"cpu": 1000, "memory": 0})

    @pytest.mark.parametrize("quantities", [{}, {"cpu": 0}, {"cpu": "0", "memory": "0Mi"}, Resources()], ids=str)
    def test_a_request_for_nothing_is_refused(self, quantities: Mapping[str, Any]) -> None:
        """It would be granted for ever and mean nothing; nearly always a key was misspelt."""
        error = refusal(lambda: Resources.request(quantities))
        assert (error.field, error.code) == ("request", "invalid_request")
        assert "asks for nothing" in str(error)

    def test_a_capacity_of_nothing_is_an_empty_vector(self) -> None:
        """Settings of a pool can be changed without naming a resource."""
        assert Resources.capacity({}) == Resources()

    @pytest.mark.parametrize("build", BUILDERS)
    def test_as_many_resources_as_are_allowed_are_taken_and_one_more_is_not(self, build: Builder) -> None:
        """The cost of a script grows with the resources of a request."""
        most = {f"r{number}": 1 for number in range(RESOURCES_MAX)}
        assert len(build(most)) == RESOURCES_MAX
        assert "33 resources" in str(refusal(lambda: build({**most, "more": 0})))

    @pytest.mark.parametrize(("build", "field"), [(Resources.request, "request"), (Resources.capacity, "capacity")])
    @pytest.mark.parametrize("given", NOT_A_MAPPING, ids=lambda given: type(given).__name__)
    def test_what_is_no_mapping_is_refused(self, build: Builder, field: str, given: object) -> None:
        """A wrong type is a wrong request, not a TypeError from within the library."""
        error = refusal(lambda: build(given))
        assert error.field == field
        assert "is not a mapping" in str(error)

    @pytest.mark.parametrize("build", BUILDERS)
    @pytest.mark.parametrize("quantity", [None, "", "x", [], {}, True, "-1", float("nan"), b"1"], ids=shown)
    def test_a_wrong_quantity_names_its_resource(self, build: Builder, quantity: object) -> None:
        """Of several resources, the message says which one to mend."""
        error = refusal(lambda: build({"memory": "1Gi", "cpu": quantity}))
        assert isinstance(error, InvalidQuantity)
        assert error.field == "cpu"

    @pytest.mark.parametrize("build", BUILDERS)
    def test_a_vector_is_taken_as_it_is(self, build: Builder) -> None:
        """Its amounts are units already: read as quantities, 2000 millicores would become 2000 cores."""
        vector = Resources.of({"cpu": 2000, "memory": 512})
        assert build(vector) == vector

    def test_any_mapping_will_do(self) -> None:
        """What a Kubernetes client hands over is seldom a plain dict."""
        assert Resources.request(MappingProxyType({"cpu": "1"})) == Resources.of({"cpu": 1000})

    def test_a_repeated_request_is_parsed_in_microseconds(self) -> None:
        """It is on the way of every allocate.  The bound is generous: the figure itself is in the benchmark."""
        quantities = {"cpu": "1", "memory": "2Gi"}

        def thousand() -> float:
            start = time.thread_time()
            for _ in range(1000):
                Resources.request(quantities)
            return time.thread_time() - start

        assert min(thousand() for _ in range(5)) / 1000 < 50e-6


class TestVector:
    def test_it_is_a_mapping(self) -> None:
        """Callers know how to use one: lookup, `get`, iteration, `in`, `dict()`."""
        vector = Resources.of({"memory": 2, "cpu": 1})
        assert vector["cpu"] == 1
        assert vector.get("gpu") is None
        assert "gpu" not in vector
        assert len(vector) == 2
        assert list(vector) == ["cpu", "memory"]
        assert dict(vector) == {"cpu": 1, "memory": 2}
        with pytest.raises(KeyError):
            vector["gpu"]

    def test_it_cannot_be_changed(self) -> None:
        """It is shared between threads and used as a key."""
        amounts = {"cpu": 1}
        vector = Resources.of(amounts)
        amounts["cpu"] = 2
        assert vector["cpu"] == 1
        for change in (
            lambda: setattr(vector, "cpu", 2),
            lambda: setattr(vector, "_amounts", {}),
            lambda: delattr(vector, "_amounts"),
        ):
            with pytest.raises(AttributeError, match="immutable"):
                change()
        with pytest.raises(TypeError):
            cast("dict[str, int]", vector)["cpu"] = 2

    def test_equal_vectors_have_equal_hashes_whatever_the_order_they_were_given_in(self) -> None:
        """A replayed request is recognised by its value."""
        first, second = Resources.of({"cpu": 1, "memory": 2}), Resources.of({"memory": 2, "cpu": 1})
        assert first == second
        assert hash(first) == hash(second)
        assert first == {"memory": 2, "cpu": 1}
        assert first != Resources.of({"cpu": 1})
        assert first != "cpu=1m,memory=2"

    def test_a_zero_is_not_a_missing_name(self) -> None:
        """A pool with none of a resource is not a pool that does not know it."""
        assert Resources.of({"cpu": 0}) != Resources()

    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
    def test_it_survives_copying_and_pickling(self, again: Callable[[Resources], Resources]) -> None:
        """Errors that carry it cross process borders."""
        vector = Resources.of({"cpu": 1, "memory": 2})
        assert again(vector) == vector

    def test_its_texts_are_canonical(self) -> None:
        """They stand in denials and listings, and can be read back."""
        vector = Resources.of({"memory": 2**32, "cpu": 2000, "nvidia.com/gpu": 500})
        assert vector.text() == {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "500m"}
        assert str(vector) == "cpu=2,memory=4Gi,nvidia.com/gpu=500m"
        assert repr(vector) == "<Resources cpu=2,memory=4Gi,nvidia.com/gpu=500m>"
        assert repr(Resources()) == "<Resources empty>"

    def test_a_sum_has_the_names_of_both(self) -> None:
        """A name that is missing counts as zero."""
        total = Resources.of({"cpu": 1, "memory": 2}) + Resources.of({"memory": 3, "pods": 4})
        assert list(total.items()) == [("cpu", 1), ("memory", 5), ("pods", 4)]

    def test_a_difference_below_zero_is_an_error_that_names_the_resource(self) -> None:
        """Releasing more than was taken is a bug; hiding it would be a leak the other way round."""
        vector = Resources.of({"cpu": 2000, "memory": 2**30})
        assert vector - Resources.of({"cpu": 2000}) == Resources.of({"cpu": 0, "memory": 2**30})
        with pytest.raises(ValueError, match=r"cpu=1,pods=1 too much"):
            _ = vector - Resources.of({"cpu": 3000, "pods": 1000})

    def test_the_order_is_by_each_component(self) -> None:
        """Two vectors may be such that neither fits into the other."""
        cpu, memory = Resources.of({"cpu": 1}), Resources.of({"memory": 1})
        assert not cpu <= memory
        assert not memory <= cpu
        assert cpu <= cpu + memory
        assert cpu + memory >= memory
        assert Resources.of({"gpu": 0}) <= Resources()

    @pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.le])
    @pytest.mark.parametrize("other", [1, None, {"cpu": 1}], ids=str)
    def test_arithmetic_with_anything_else_is_a_type_error(
        self, operation: Callable[[object, object], object], other: object
    ) -> None:
        """A dict of texts or of cores must not slip into a sum of units."""
        with pytest.raises(TypeError):
            operation(Resources.of({"cpu": 1}), other)

    def test_the_shortfall_counts_from_what_is_really_available(self) -> None:
        """Of an overcommitted account less than nothing is available, and the message should say by how much."""
        request = Resources.of({"cpu": 2, "memory": 5, "pods": 1})
        assert request.shortfall({"cpu": -3, "memory": 5}) == Resources.of({"cpu": 5, "pods": 1})
        assert not request.shortfall({"cpu": 2, "memory": 6, "pods": 1})


class TestProperties:
    @EXAMPLES
    @given(a=vectors, b=vectors, c=vectors)
    def test_addition_is_that_of_vectors(self, a: Resources, b: Resources, c: Resources) -> None:
        """The order in which allocations are summed does not matter."""
        assert a + b == b + a
        assert (a + b) + c == a + (b + c)
        assert a + Resources() == a

    @EXAMPLES
    @given(a=vectors, b=vectors)
    def test_what_was_added_can_be_taken_away(self, a: Resources, b: Resources) -> None:
        """Charge and un-charge cancel out."""
        left = a + b - b
        assert {name: amount for name, amount in left.items() if amount} == {n: x for n, x in a.items() if x}

    @EXAMPLES
    @given(a=vectors, b=vectors)
    def test_it_fits_exactly_when_nothing_is_short(self, a: Resources, b: Resources) -> None:
        """The check and its explanation cannot disagree; with what was short added, it fits."""
        short = a.shortfall(b)
        assert (a <= b) == (not short)
        assert a <= b + short

    @EXAMPLES
    @given(a=vectors)
    def test_its_texts_read_back_to_itself(self, a: Resources) -> None:
        """A capacity can be shown, edited by a person and set again."""
        assert Resources.capacity(a.text()) == a


def test_a_request_read_before_is_answered_from_memory_and_bad_ones_never() -> None:
    """Controllers ask for the same few things; but 1 and True are equal to Python, and only one is a quantity."""
    assert Resources.request({"cpu": "1", "memory": "2Gi"}) is Resources.request({"cpu": "1", "memory": "2Gi"})
    assert Resources.request({"cpu": 1}) == {"cpu": 1000}
    wrong: list[object] = [True, [1], "", "-1"]
    for quantity in wrong:
        for _ in range(2):
            with pytest.raises(InvalidRequest):
                Resources.request({"cpu": quantity})  # type: ignore[dict-item]
