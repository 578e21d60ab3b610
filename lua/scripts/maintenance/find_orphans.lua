#!lua flags=no-writes
--[[
find_orphans -- Confirm which of these records have no index entry.

The driver finds candidates by SCAN, which is not a snapshot; this script confirms them atomically.

KEYS    records      keys    the candidates, at most PAGE_RECORDS_MAX
Reply   {"orphans", id, ...} | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(candidates)
]]
local arguments = require('arguments')
local limits = require('limits')
local pools = require('pools')
local records = require('records')

return function(call)
  local _, refused = pools.identify(call, redis.call('HGET', call.key, 'epoch'))
  if refused then return {refused} end
  local count = arguments.records(call)
  if count > limits.PAGE_RECORDS_MAX then error({err = 'CONTRACT too many records'}) end
  arguments.finish(call, count)
  local reply = {'orphans'}
  for i = 1, count do
    local key = arguments.record(call, i)
    local id = records.id(call, key)
    local known = redis.call('ZSCORE', call.deadlines, id) or redis.call('ZSCORE', call.pinned, id)
    if not known and redis.call('EXISTS', key) == 1 then reply[#reply + 1] = id end
  end
  return reply
end
