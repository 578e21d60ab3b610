#!lua flags=allow-oom
--[[
reclaim -- End allocations past their deadline, and pinned ones by age.

It decides by the indexes in the same script that ends them, so a lease that has just been renewed is not reclaimed.  It
also trims old completed calls.  While a pool recovers no lease is reclaimed, as its renewal may be among the lost data.

ARGV    limit        int     1 to RECLAIM_BATCH_MAX
        age_ms       text    also pinned ones granted at least so long ago; '-': none of them
Reply   {"reclaimed", more, id, ...}; more 1: the limit was reached
        | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, accounts, records, deadlines, pinned, ended, events
Cost    O(limit * (A * R + log N))
]]
local arguments = require('arguments')
local clock = require('clock')
local expiry = require('expiry')
local limits = require('limits')
local line = require('line')
local pools = require('pools')
local records = require('records')
local recovery = require('recovery')
local removals = require('removals')
local transaction = require('transaction')

local function read_age(call)
  if call.argv[call.at + 1] == '-' then
    call.at = call.at + 1
    return nil
  end
  return arguments.integer(call, 'age_ms')
end

local function take(call, index, id)
  -- An id that is in both indexes has been reclaimed in this call already.
  if call.records[records.key(call, id)] ~= nil then return false end
  if index == call.deadlines then return expiry.take(call, id, 'deadline') end
  return removals.plan_expired(call, id, records.key(call, id), records.at_id(call, id), 'age')
end

local function walk(call, index, until_ms, room, reply)
  local ids = redis.call('ZRANGEBYSCORE', index, '-inf', until_ms, 'LIMIT', 0, room + 1)
  if #ids > room then reply[2] = 1 end
  local count = math.min(#ids, room)
  for i = 1, count do
    if take(call, index, ids[i]) then reply[#reply + 1] = ids[i] end
  end
  return room - count
end

return function(call)
  -- Read
  clock.start(call)
  local limit = arguments.integer(call, 'limit', limits.RECLAIM_BATCH_MAX)
  if limit < 1 then arguments.refuse('limit') end
  local age_ms = read_age(call)
  arguments.finish(call, 0)
  pools.open_state(call)
  if call.refused then return {call.refused} end
  -- Decide
  if call.pool.grace_ms then recovery.check(call) end
  local reply, room = {'reclaimed', 0}, limit
  if not call.pool.recovering then room = walk(call, call.deadlines, call.now, room, reply) end
  if age_ms then walk(call, call.pinned, call.now - age_ms, room, reply) end
  call.trims, call.freed = true, true
  line.finish(call)
  -- Write
  transaction.commit(call)
  return reply
end
