#!lua flags=allow-oom
--[[
withdraw -- Undo calls whose outcome nobody heard, and keep their copies from doing anything.

Releases only a record that carries the very call: an allocation that was replayed to somebody else stays.  The call is
marked as ended in any case.  Also where the pool is gone: a copy may arrive after it was made again.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
        records      keys    one for each item
ARGV    now_ms       int     0: the server's clock
        items        list    of (call, repeated): the call to withdraw
Reply   per item {"withdrawn"} | {"absent"} | {"schema"}
Writes  pool, records, deadlines, pinned, ended, events
Cost    O(I * (R + log N)): I items, R resources, N live
]]
--@include args
--@include guard

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms = ARGV[1]
local FIXED = 5

-- Read --------------------------------------------------------------------------------------------
--@include now
args.at = 1
local items = args.items(FIXED, function() return {call = args.take(2)} end)

local epoch = ''
local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
--@include account
--@include endings
local live = refused and {} or records.of_items(items, records.read)

-- Decide ------------------------------------------------------------------------------------------
local replies = {}
for i, item in ipairs(items) do
  local record = live[item.key]
  replies[i] = {'absent'}
  if refused == 'schema' then
    replies[i] = {refused}
  elseif record and record.call == item.call then
    endings.plan_named(pool, records.id(pool, item.key), record, 'withdrawn', 'outcome unknown')
    live[item.key], replies[i] = false, {'withdrawn'}
  elseif not tombstones.find(ended, item.call) then
    tombstones.add(item.call)
  end
end
tombstones.prepare(ended, now)
if #tombstones.calls > 0 then
  guard(events, {deadlines, pinned}, {'HDEL', 'HSET', 'PEXPIRE', 'UNLINK', 'XADD', 'ZADD', 'ZREM'})
end

-- Apply -------------------------------------------------------------------------------------------
tombstones.save(ended, now)
if refused == 'unknown_pool' then
  -- Marks of a pool that is gone go with time, unless it is made again.
  redis.call('PEXPIRE', ended, schema.ENDED_KEEP_MS)
end
--@include save_account
endings.save(deadlines, pinned)
journal.save(events)
return replies
