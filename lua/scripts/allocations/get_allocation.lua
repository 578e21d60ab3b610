#!lua flags=no-writes
--[[
get_allocation -- Read one record.

KEYS    record       hash    the allocation's record
Reply   {"record", field, value, ...} (with the pool's epoch) | {"unknown"} | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(R)
]]
local arguments = require('arguments')
local pools = require('pools')

return function(call)
  arguments.finish(call, 1)
  local epoch, refused = pools.identify(call, redis.call('HGET', call.key, 'epoch'))
  if refused then return {refused} end
  local fields = redis.call('HGETALL', arguments.record(call, 1))
  if #fields == 0 then return {'unknown'} end
  local reply = {'record', 'epoch', epoch}
  for i = 1, #fields do reply[i + 3] = fields[i] end
  return reply
end
