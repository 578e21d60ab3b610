"""What could fail in the midst of the writes of a call is looked at before the first call."""

from __future__ import annotations

import pytest
import redis

from tests.scripts.ledger import Ledger, contract

COMMANDS = ("HDEL", "HSET", "UNLINK", "XADD", "ZADD", "ZREM")


def test_a_user_who_may_do_everything_is_ready_with_or_without_a_pool(ledger: Ledger) -> None:
    """It may be about to make one.  Nothing is changed."""
    before = ledger.dump()
    assert ledger.run("check_access") == ["ready"]
    ledger.assert_untouched(before)
    ledger.create({"cpu": 10})
    before = ledger.dump()
    assert ledger.run("check_access") == ["ready"]
    ledger.assert_untouched(before)


@pytest.mark.parametrize("lacked", [COMMANDS[:1], COMMANDS[1:3], COMMANDS])
def test_a_user_is_told_every_command_that_is_missing(real: Ledger, lacked: tuple[str, ...]) -> None:
    """All at once, so that one look at the rights mends them."""
    rules = [f"-{command.lower()}" for command in lacked]
    real.client.execute_command("ACL", "SETUSER", "poor", "reset", "on", ">x", "~*", "&*", "+@all", *rules)
    arguments = real.client.connection_pool.connection_kwargs
    poor = redis.Redis(unix_socket_path=arguments["path"], username="poor", password="x", decode_responses=True)
    try:
        assert real.run("check_access", client=poor) == ["missing", *lacked]
    finally:
        poor.close()
        real.client.execute_command("ACL", "DELUSER", "poor")


@pytest.mark.breaks_data
@pytest.mark.parametrize("key", ["pool", "deadlines", "pinned", "ended", "events"])
def test_a_key_of_another_type_is_an_error(ledger: Ledger, key: str) -> None:
    """Each of the five that every call may write to."""
    ledger.client.set(ledger.keys[key], "mine")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        ledger.run("check_access")


def test_arguments_beyond_the_envelope_are_refused(ledger: Ledger) -> None:
    """It takes none."""
    with contract("left over"):
        ledger.run("check_access", tail=("more",))
