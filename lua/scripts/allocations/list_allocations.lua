#!lua flags=no-writes
--[[
list_allocations -- Read one page of a pool's records, and the next cursor.

It scans an index by ZSCAN: an allocation that is in it from the first page to the last is listed at least once, however
often its deadline moves meanwhile.  One that begins or ends meanwhile may or may not be listed.

ARGV    index        text    deadlines or pinned
        cursor       text    '0' for the first page
        count        int     the approximate number, 1 to PAGE_RECORDS_MAX
Reply   {"page", cursor, read_ms, epoch, (id, {field, value, ...})*}; cursor "0": the last page
        | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(count * R)
]]
local arguments = require('arguments')
local clock = require('clock')
local limits = require('limits')
local pools = require('pools')
local records = require('records')

return function(call)
  clock.start(call)
  local index = arguments.text(call, 'index') == 'deadlines' and call.deadlines or call.pinned
  local cursor = arguments.text(call, 'cursor')
  local count = arguments.integer(call, 'count', limits.PAGE_RECORDS_MAX)
  arguments.finish(call, 0)
  local stored = redis.call('HMGET', call.key, 'epoch', 'clock_ms', 'clock_offset_ms')
  local epoch, refused = pools.identify(call, stored[1])
  if refused then return {refused} end
  clock.adjust(call, stored[2], stored[3])
  local scan = redis.call('ZSCAN', index, cursor, 'COUNT', math.max(count, 1))
  local reply = {'page', scan[1], call.now, epoch}
  for i = 1, #scan[2], 2 do
    local id = scan[2][i]
    local record = records.at_id(call, id)
    -- Broken records are reported by an audit, not by a listing.
    if record and not record.broken then
      reply[#reply + 1] = id
      reply[#reply + 1] = records.flat(call, record, {})
    end
  end
  return reply
end
