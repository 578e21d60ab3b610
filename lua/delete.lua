#!lua flags=allow-oom
--[[
delete -- End a pool: refused while anything is live, unless forced.

A forced deletion ends at most RECLAIM_BATCH_MAX allocations a call; from the first on the pool grants nothing more, so
it gets done.  What was said of ended calls stays for as long as a copy of one may travel.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        items        list    of one (call, repeated, force)
Reply   per item {"deleted"} | {"deleting", left} | {"in_use", live} | {"absent"} | {"other_epoch"} | {"schema"}
Writes  everything of the pool
Cost    O(200 * (R + log N))
]]
--@include args
--@include guard

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, epoch = ARGV[1], ARGV[2]

-- Read --------------------------------------------------------------------------------------------
--@include now
args.at = 2
local call, repeated, force = args.take(3)
force = force == '1'
args.finish(5, 0)

local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
--@include account
--@include endings
local live = redis.call('ZCARD', deadlines) + redis.call('ZCARD', pinned)

-- What the caller is told, where that ends here.
local function settle()
  if tombstones.find(ended, call) then
    local told = tombstones.told(ended, call, {'absent', 'in_use', 'deleting'})
    if told == 'absent' or told == 'in_use' or told and not refused then return told end
    return 'deleted'
  end
  if refused then return refused == 'unknown_pool' and 'absent' or refused end
  return live > 0 and not force and state ~= 'deleting' and 'in_use'
end

local word = settle()
if word then
  -- A copy of a call that changed nothing may still travel: it must not end what is made, or emptied, later.
  if repeated == '1' and (word == 'absent' or word == 'in_use') then
    tombstones.settle(call, word)
    tombstones.save(ended, now)
    if refused == 'unknown_pool' then redis.call('PEXPIRE', ended, schema.ENDED_KEEP_MS) end
  end
  if word == 'in_use' or word == 'deleting' then return {{word, live}} end
  return {{word}}
end

-- Decide ------------------------------------------------------------------------------------------
local room = schema.RECLAIM_BATCH_MAX
for _, index in ipairs({deadlines, pinned}) do
  for _, id in ipairs(redis.call('ZRANGE', index, 0, room - 1)) do
    local record = records.found(pool, id)
    -- Broken ones go as well: nothing will be left for them to contradict.
    if not (record and endings.plan(pool, id, record, 'deleted', 'pool deleted')) then
      endings.discard(pool, id)
    end
    room = room - 1
  end
  if room <= 0 then break end
end
local left = live - #endings.planned
if left > 0 then tombstones.settle(call, 'deleting') end
tombstones.prepare(ended, now)
guard(left > 0 and events, {}, {'HDEL', 'HSET', 'PEXPIRE', 'UNLINK', 'XADD', 'ZADD', 'ZREM'})

-- Apply -------------------------------------------------------------------------------------------
tombstones.save(ended, now)
if left > 0 then
  --@include save_account
  redis.call('HSET', pool, 'state', 'deleting')
  endings.save(deadlines, pinned)
  journal.save(events)
  return {{'deleting', left}}
end
-- Nobody is to take the pool for one that the store has lost.
redis.call('ZADD', ended, now, call, now, 'deleted')
redis.call('PEXPIRE', ended, schema.ENDED_KEEP_MS)
endings.save(deadlines, pinned)
redis.call('UNLINK', pool, events)
return {{'deleted'}}
