"""The labs' statuses: who may write what over what."""

from __future__ import annotations

import pytest

from allocator.apps.demo.cluster import Change, Cluster, Phase, Transition

P = Phase


def cluster_with(*moves: tuple[str, Phase, int]) -> Cluster:
    cluster = Cluster(1)
    for replica, phase, fence in moves:
        assert cluster.write(replica, [Transition(0, phase, fence)]) == [True]
    return cluster


@pytest.mark.parametrize(
    ("before", "move", "accepted"),
    [
        ([], ("a", P.PROVISIONING, 7), True),
        ([], ("a", P.RUNNING, 7), False),
        ([], ("a", P.FAILED, 0), True),
        ([], ("a", P.COMPLETED, 0), False),
        ([("a", P.PROVISIONING, 7)], ("a", P.RUNNING, 7), True),
        ([("a", P.PROVISIONING, 7)], ("a", P.FAILED, 7), True),
        ([("a", P.PROVISIONING, 7)], ("a", P.COMPLETED, 7), False),
        ([("a", P.PROVISIONING, 7)], ("b", P.RUNNING, 7), False),
        ([("a", P.PROVISIONING, 7)], ("b", P.PROVISIONING, 9), True),
        ([("a", P.PROVISIONING, 7)], ("b", P.PROVISIONING, 6), False),
        ([("a", P.PROVISIONING, 7)], ("b", P.FAILED, 0), False),
        ([("a", P.PROVISIONING, 7), ("b", P.PROVISIONING, 9)], ("a", P.RUNNING, 7), False),
        ([("a", P.PROVISIONING, 7), ("a", P.RUNNING, 7)], ("a", P.COMPLETED, 7), True),
        ([("a", P.PROVISIONING, 7), ("a", P.RUNNING, 7)], ("a", P.PENDING, 7), True),
        ([("a", P.PROVISIONING, 7), ("a", P.RUNNING, 7), ("a", P.COMPLETED, 7)], ("b", P.PROVISIONING, 9), False),
    ],
)
def test_a_newer_fence_begins_anew_and_an_older_one_is_refused(
    before: list[tuple[str, Phase, int]], move: tuple[str, Phase, int], accepted: bool
) -> None:
    """This is what keeps a stalled replica from overwriting what its successor wrote."""
    cluster = cluster_with(*before)
    replica, phase, fence = move
    status = cluster.snapshot()[0]
    assert cluster.write(replica, [Transition(0, phase, fence)]) == [accepted]
    assert (cluster.snapshot()[0] != status) == accepted


def test_phases_are_counted_and_runs_too() -> None:
    """The end of the run is read from these counts."""
    cluster = cluster_with(("a", P.PROVISIONING, 7), ("b", P.PROVISIONING, 9), ("b", P.RUNNING, 9))
    assert cluster.phases()[P.RUNNING] == cluster.phases().total() == 1
    assert cluster.snapshot()[0].runs == 2
    assert cluster.in_hand("b") == [0]
    assert cluster.in_hand("a") == []


def test_a_reader_is_told_each_lab_once_as_it_stands() -> None:
    """Replicas read what has changed since the version that they know."""
    cluster = cluster_with(("a", P.PROVISIONING, 7), ("a", P.RUNNING, 7))
    version, changes = cluster.since(0)
    assert changes == [Change(0, P.RUNNING, "a", 7)]
    assert cluster.since(version) == (version, [])
