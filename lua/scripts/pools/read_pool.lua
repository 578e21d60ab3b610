#!lua flags=no-writes
--[[
read_pool -- Read a pool atomically: its account, and its numbers of allocations, scopes and waiters.

`deadline_ms` is the earliest deadline, `pinned_ms` when the oldest pinned allocation was granted, 0: there is none.
`line` has the first LINE_PRIORITIES_MAX priorities of those who wait, the highest first: how many, and since when the
first of them, 0: unknown.

Reply   {"usage", read_ms, leased, pinned, due, waiting, deadline_ms, pinned_ms, scopes,
          {(priority, waiting, since_ms)*} the line, field, value, ...}
        | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(R + P * log N): P priorities
]]
local arguments = require('arguments')
local clock = require('clock')
local limits = require('limits')
local pools = require('pools')
local quotas = require('quotas')
local waiters = require('waiters')

-- The least score of an index, or 0.
local function least(index)
  return tonumber(redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2] or 0)
end

-- When a waiter took its place; 0 where its entry does not say so.
local function since(call, id)
  local stored = redis.pcall('HGET', waiters.key(call, id), 'since_ms')
  return type(stored) == 'string' and tonumber(stored) or 0
end

local function read_line(call)
  local index, span, line = waiters.index(call), waiters.place(limits.PRIORITY_MAX - 1, 0), {}
  local first = 0
  for _ = 1, limits.LINE_PRIORITIES_MAX do
    local found = redis.call('ZRANGEBYSCORE', index, first, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not found[1] then break end
    local priority = limits.PRIORITY_MAX - math.floor(found[2] / span)
    local last, n = waiters.last_place(priority), #line
    line[n + 1], line[n + 2] = priority, redis.call('ZCOUNT', index, first, last)
    line[n + 3] = since(call, found[1])
    first = last + 1
  end
  return line
end

return function(call)
  clock.start(call)
  arguments.finish(call, 0)
  local fields = redis.call('HGETALL', call.key)
  local stored = {}
  for i = 1, #fields, 2 do stored[fields[i]] = fields[i + 1] end
  local _, refused = pools.identify(call, stored.epoch)
  if refused then return {refused} end
  clock.adjust(call, stored.clock_ms, stored.clock_offset_ms)
  local waits = string.find(stored.options or '', 'waits=1', 1, true)
  local reply = {
    'usage', call.now, redis.call('ZCARD', call.deadlines), redis.call('ZCARD', call.pinned),
    redis.call('ZCOUNT', call.deadlines, '-inf', call.now), waits and redis.call('ZCARD', waiters.index(call)) or 0,
    least(call.deadlines), least(call.pinned), redis.call('ZCARD', quotas.index(call)), waits and read_line(call) or {},
  }
  for i = 1, #fields do reply[i + 10] = fields[i] end
  return reply
end
