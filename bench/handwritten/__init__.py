"""What a user would write himself in an afternoon: two resources, a limit each, a record, a deadline.

It keeps its limits, and is what one must be worth more than.  What it does not have: an answer to a call that is
repeated because its reply was lost, a look at the deadlines that have passed, an event, a fence, an audit, a clock
that all callers share, any resource but these two.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Final

import redis

ALLOCATE: Final = """
local pool, record, deadlines = KEYS[1], KEYS[2], KEYS[3]
local id, owner, cpu, memory, deadline = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local had = redis.call('HMGET', pool, 'cpu', 'cpu_limit', 'memory', 'memory_limit')
if had[1] + cpu > tonumber(had[2]) or had[3] + memory > tonumber(had[4]) then
  return 0
end
redis.call('HINCRBY', pool, 'cpu', cpu)
redis.call('HINCRBY', pool, 'memory', memory)
redis.call('HSET', record, 'owner', owner, 'cpu', cpu, 'memory', memory, 'deadline', deadline)
redis.call('ZADD', deadlines, deadline, id)
return 1
"""

RELEASE: Final = """
local pool, record, deadlines = KEYS[1], KEYS[2], KEYS[3]
local took = redis.call('HMGET', record, 'cpu', 'memory')
if not took[1] then
  return 0
end
redis.call('HINCRBY', pool, 'cpu', -took[1])
redis.call('HINCRBY', pool, 'memory', -took[2])
redis.call('DEL', record)
redis.call('ZREM', deadlines, ARGV[1])
return 1
"""


class Pool:
    """CPU in millicores and memory in bytes, shared by whoever uses the same name."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._redis: Any = client
        self._pool, self._deadlines = f"{name}:pool", f"{name}:deadlines"
        self._record = f"{name}:record:"
        self._allocate = client.register_script(ALLOCATE)
        self._release = client.register_script(RELEASE)

    def create(self, cpu: int, memory: int) -> None:
        """Set the limits of an empty pool."""
        self._redis.hset(self._pool, mapping={"cpu": 0, "cpu_limit": cpu, "memory": 0, "memory_limit": memory})

    def allocate(self, owner: str, cpu: int, memory: int, ttl: float) -> str | None:
        """The id of what was granted, or None where it does not fit."""
        identity = uuid.uuid4().hex
        keys = [self._pool, self._record + identity, self._deadlines]
        granted = self._allocate(keys=keys, args=[identity, owner, cpu, memory, time.time() + ttl])
        return identity if granted else None

    def release(self, identity: str) -> bool:
        """Give it back, once."""
        keys = [self._pool, self._record + identity, self._deadlines]
        return bool(self._release(keys=keys, args=[identity]))
