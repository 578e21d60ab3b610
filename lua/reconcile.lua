#!lua flags=allow-oom
--[[
reconcile -- Release what an owner says that it does not have, having looked again.

The caller has compared a listing with what is really there.  Meanwhile an id may have been granted anew: owner, fence
and age are checked here, in the script that acts.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
        records      keys    one for each item
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        owner        text    exactly, or what it begins with and a '*'
        as_of_ms     int     granted later than that: kept
        items        list    of (call, repeated, fence)
Reply   per item {"released", ended_ms} | {"fenced", fence} | {"unknown"} | {"kept"} (another owner's, or younger)
        | {"future"} (as_of_ms is) | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, records, deadlines, pinned, ended, events
Cost    O(I * (R + log N)): I items, R resources, N live
]]
--@include args
--@include guard

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, epoch, owner, as_of_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local FIXED = 5

-- Read --------------------------------------------------------------------------------------------
--@include now
args.at = 4
as_of_ms = args.int(as_of_ms, 'as_of_ms')
local items = args.items(FIXED, function()
  local call, _, fence = args.take(3)
  return {call = call, fence = args.int(fence, 'fence')}
end)

local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
--@include account
--@include endings
local live = refused and {} or records.of_items(items)

-- Decide ------------------------------------------------------------------------------------------
local function is_owners(record)
  if string.sub(owner, -1) ~= '*' then return record.owner == owner end
  return string.sub(record.owner, 1, #owner - 1) == string.sub(owner, 1, -2)
end

local function settle(item)
  if refused then return {refused} end
  if as_of_ms > now then return {'future'} end
  local ended_ms, record = tombstones.find(ended, item.call), live[item.key]
  if ended_ms then return {'released', ended_ms} end
  if not record then return {'unknown'} end
  if item.fence ~= record.fence then return {'fenced', record.fence} end
  if not is_owners(record) or record.granted_ms > as_of_ms then return {'kept'} end
  endings.plan_named(pool, records.id(pool, item.key), record, 'released', 'reconciled')
  tombstones.add(item.call)
  live[item.key] = false
  return {'released', now}
end

local replies = {}
for i, item in ipairs(items) do replies[i] = settle(item) end
tombstones.prepare(ended, now)
if #tombstones.calls > 0 then
  guard(events, {deadlines, pinned}, {'HDEL', 'HSET', 'UNLINK', 'XADD', 'ZADD', 'ZREM'})
end

-- Apply -------------------------------------------------------------------------------------------
tombstones.save(ended, now)
--@include save_account
endings.save(deadlines, pinned)
journal.save(events)
return replies
