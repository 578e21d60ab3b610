"""Hard ends: no call lets an allocation live beyond grant + lifetime."""

from __future__ import annotations

from tests.scripts.ledger import MINUTE, T0, Ledger, fields

LIFETIME = 3 * MINUTE


def test_a_renewal_is_cut_at_the_end_and_says_so(ledger: Ledger) -> None:
    ledger.create({"cpu": 8000})
    reply = ledger.allocate(ledger.want("a", {"cpu": 1000}, lifetime=LIFETIME))[0]
    assert reply[3] == T0 + MINUTE
    assert reply[7] == T0 + LIFETIME
    ledger.now = T0 + 50_000
    assert ledger.renew("a")[0][2:] == [T0 + 110_000, "", T0 + LIFETIME, 130_000]
    ledger.now = T0 + 105_000
    ledger.renew("a")
    ledger.now = T0 + 160_000
    assert ledger.renew("a")[0][2:] == [T0 + LIFETIME, "", T0 + LIFETIME, 20_000]
    assert ledger.index("deadlines") == {"a": T0 + LIFETIME}
    ledger.now = T0 + LIFETIME
    assert ledger.renew("a")[0] == ["over", T0 + LIFETIME]


def test_what_is_pinned_ends_there(ledger: Ledger) -> None:
    ledger.create({"cpu": 8000})
    reply = ledger.allocate(ledger.want("a", {"cpu": 1000}, ttl=0, lifetime=LIFETIME))[0]
    assert reply[3] == reply[7] == T0 + LIFETIME
    assert ledger.index("deadlines") == {"a": T0 + LIFETIME}
    assert ledger.index("pinned") == {}
    assert ledger.record("a")["ttl_ms"] == str(LIFETIME)


def test_sharing_never_passes_it(ledger: Ledger) -> None:
    ledger.create({"cpu": 8000})
    ledger.grant("a", {"cpu": 1000}, lifetime=LIFETIME)
    ledger.now = T0 + 50_000
    for ttl, lifetime in ((10 * MINUTE, 0), (0, 0), (MINUTE, 10 * MINUTE)):
        reply = ledger.allocate(ledger.want("a", {"cpu": 1000}, ttl=ttl, lifetime=lifetime))[0]
        assert reply[0] == "existing"
        assert fields(reply[1:])["deadline_ms"] == T0 + LIFETIME
        assert fields(reply[1:])["ends_ms"] == T0 + LIFETIME
