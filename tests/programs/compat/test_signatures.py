"""The documented signatures, word for word: callers pass arguments by name and check what comes back by type."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping

import pytest

from allocator import ResourceAllocator, Resources
from allocator.quantity import Quantity


def test_the_constructor_takes_the_documented_arguments_with_their_defaults() -> None:
    """Both by position too; all that is new is keyword-only."""
    parameters = list(inspect.signature(ResourceAllocator).parameters.values())
    assert [(each.name, each.default) for each in parameters[:2]] == [("total_cpu", 32.0), ("total_memory_gb", 128)]
    assert all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters[:2])
    assert all(each.kind is each.KEYWORD_ONLY and each.default is not each.empty for each in parameters[2:])
    hints = typing.get_type_hints(ResourceAllocator.__init__)
    assert hints["total_cpu"] is float
    assert hints["total_memory_gb"] is int


@pytest.mark.parametrize(
    ("method", "awaited", "parameters", "returns"),
    [
        ("check_availability", True, {"resource_limits": ...}, bool),
        ("allocate_resources", True, {"resource_limits": ...}, dict[str, str]),
        ("release_resources", True, {"allocation_data": ...}, types.NoneType),
        ("cleanup_expired_allocations", True, {"max_age_hours": 24}, int),
        ("get_resource_usage", False, {}, dict[str, float]),
        ("get_active_allocations", False, {}, dict[str, dict[str, str]]),
        ("renew_resources", True, {"allocation_data": ...}, bool),
        ("usage", True, {}, dict[str, float]),
        ("active_allocations", True, {}, dict[str, dict[str, str]]),
    ],
)
def test_each_method_has_its_documented_signature(
    method: str, awaited: bool, parameters: dict[str, object], returns: object
) -> None:
    """Names, defaults, result, and whether it is awaited; what was added is keyword-only and has a default."""
    function = getattr(ResourceAllocator, method)
    assert inspect.iscoroutinefunction(function) is awaited
    _, *found = inspect.signature(function).parameters.values()
    documented, added = found[: len(parameters)], found[len(parameters) :]
    assert {each.name: ... if each.default is each.empty else each.default for each in documented} == parameters
    assert all(each.kind is each.POSITIONAL_OR_KEYWORD for each in documented)
    assert all(each.kind is each.KEYWORD_ONLY and each.default is not each.empty for each in added)
    assert typing.get_type_hints(function)["return"] == returns


def test_limits_may_be_a_plain_dict_of_texts_and_more() -> None:
    """`Dict[str, str]` is one case of what is taken."""
    hints = typing.get_type_hints(ResourceAllocator.check_availability)
    assert set(typing.get_args(hints["resource_limits"])) == {Mapping[str, Quantity], Resources}


@pytest.mark.parametrize("method", ["get_resource_usage", "get_active_allocations"])
def test_a_plain_getter_names_its_awaited_twin(method: str) -> None:
    """Whoever reads the docstring of what blocks the loop should find what does not."""
    twin = {"get_resource_usage": "usage()", "get_active_allocations": "active_allocations()"}[method]
    assert f"`{twin}`" in (getattr(ResourceAllocator, method).__doc__ or "")
