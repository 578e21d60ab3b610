"""What the writes alone cost: the scripts that `allocate` is measured against.

`OWN` writes what `allocate` writes (counters, record, index, event), the same fields to the same keys, and checks
nothing; its fence comes from the revision that it counts up, its instants from the caller.  `BARE` is the least that
a ledger could do: two counters, a record of four fields, a deadline.
"""

OWN = """
local pool, deadlines, events, record = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local fence = redis.call('HINCRBY', pool, 'revision', 1)
redis.call('HINCRBY', pool, 'cpu.allocated', ARGV[1])
redis.call('HINCRBY', pool, 'memory.allocated', ARGV[2])
redis.call('HSET', record, 'cpu.allocated', ARGV[1], 'memory.allocated', ARGV[2], 'owner', ARGV[3], 'fence', fence,
  'call', ARGV[4], 'granted_ms', ARGV[5], 'ttl_ms', ARGV[6], 'deadline_ms', ARGV[7])
redis.call('ZADD', deadlines, ARGV[7], ARGV[8])
redis.call('XADD', events, 'MAXLEN', '~', 10000, '*', 'kind', 'granted', 'id', ARGV[8], 'owner', ARGV[3],
  'fence', fence, 'cpu.allocated', ARGV[1], 'memory.allocated', ARGV[2])
return fence
"""

BARE = """
redis.call('HINCRBY', KEYS[1], 'cpu', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'memory', ARGV[2])
redis.call('HSET', KEYS[3], 'owner', ARGV[3], 'deadline', ARGV[4], 'cpu', ARGV[1], 'memory', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[5])
return 1
"""
