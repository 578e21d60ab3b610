#!lua flags=no-writes
--[[
usage -- One atomic reading of a pool: its account and how many allocations stand behind it.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
Reply   {"usage", read_ms, leased, pinned, due, field, value, ...} | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(R + log N)
]]

local pool, deadlines, pinned, now_ms, epoch = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]

--@include now
local account = redis.call('HMGET', pool, 'epoch', 'clock_ms', 'clock_offset_ms')
local account_epoch, seen_ms, offset_ms = account[1], account[2], account[3]
--@include clock
if not account_epoch then return {'unknown_pool'} end
if epoch ~= '' and epoch ~= account_epoch then return {'other_epoch'} end

local reply = {
  'usage', now, redis.call('ZCARD', deadlines), redis.call('ZCARD', pinned),
  redis.call('ZCOUNT', deadlines, '-inf', now),
}
for _, value in ipairs(redis.call('HGETALL', pool)) do reply[#reply + 1] = value end
return reply
