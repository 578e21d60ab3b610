#!lua flags=no-writes
--[[
read_pool -- Read a pool atomically: its account and its numbers of allocations.

Reply   {"usage", read_ms, leased, pinned, due, field, value, ...} | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(R + log N)
]]
local arguments = require('arguments')
local clock = require('clock')
local pools = require('pools')

return function(call)
  clock.start(call)
  arguments.finish(call, 0)
  local fields = redis.call('HGETALL', call.key)
  local stored = {}
  for i = 1, #fields, 2 do stored[fields[i]] = fields[i + 1] end
  local _, refused = pools.identify(call, stored.epoch)
  if refused then return {refused} end
  clock.adjust(call, stored.clock_ms, stored.clock_offset_ms)
  local reply = {
    'usage', call.now, redis.call('ZCARD', call.deadlines), redis.call('ZCARD', call.pinned),
    redis.call('ZCOUNT', call.deadlines, '-inf', call.now),
  }
  for i = 1, #fields do reply[i + 5] = fields[i] end
  return reply
end
