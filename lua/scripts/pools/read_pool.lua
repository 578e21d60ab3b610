#!lua flags=no-writes
--[[
read_pool -- Read a pool atomically: its account, and its numbers of allocations and of waiters.

Reply   {"usage", read_ms, leased, pinned, due, waiting, field, value, ...}
        | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(R + log N)
]]
local arguments = require('arguments')
local clock = require('clock')
local pools = require('pools')
local waiters = require('waiters')

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
  }
  for i = 1, #fields do reply[i + 6] = fields[i] end
  return reply
end
