#!lua flags=no-writes
--[[
read_events -- Read the latest entries of the pool's event stream, newest first.

ARGV    count        int     1 to PAGE_RECORDS_MAX
Reply   {"events", (entry id, {field, value, ...})*} | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(count)
]]
local arguments = require('arguments')
local limits = require('limits')
local pools = require('pools')

return function(call)
  local count = arguments.integer(call, 'count', limits.PAGE_RECORDS_MAX)
  arguments.finish(call, 0)
  local _, refused = pools.identify(call, redis.call('HGET', call.key, 'epoch'))
  if refused then return {refused} end
  local reply = {'events'}
  for _, entry in ipairs(redis.call('XREVRANGE', call.events, '+', '-', 'COUNT', math.max(count, 1))) do
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = entry[2]
  end
  return reply
end
