#!lua flags=allow-oom
--[[
reclaim -- Take back allocations past their deadline, and pinned ones by age.

Decided on what the indexes say now, in the script that acts: a lease renewed a moment ago is not taken.  Also forgets
ended calls that are old enough.  While a pool recovers nothing is past its deadline: its renewal may be what was lost.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        limit        int     1 to RECLAIM_BATCH_MAX
        age_ms       text    pinned ones granted at least so long ago go too; '-': none of them
Reply   {"reclaimed", more, id, ...}; more 1: the limit was reached
        | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, records, deadlines, pinned, ended, events
Cost    O(limit * (R + log N))
]]
--@include args
--@include guard

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, epoch = ARGV[1], ARGV[2]

-- Read --------------------------------------------------------------------------------------------
--@include now
args.at = 2
local limit, age_ms = args.take(2)
limit, age_ms = args.int(limit, 'limit', schema.RECLAIM_BATCH_MAX), age_ms ~= '-' and args.int(age_ms, 'age_ms')
args.finish(5, 0)
if limit < 1 then error({err = 'CONTRACT limit is below 1'}) end

local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
--@include account
--@include endings
--@include gap
--@include suspect
if refused then return {refused} end
suspect('', 0)

-- Decide ------------------------------------------------------------------------------------------
local reply, met = {'reclaimed', 0}, 0

local function reclaim(index, until_ms, reason)
  local room = limit - met
  local ids = redis.call('ZRANGEBYSCORE', index, '-inf', until_ms, 'LIMIT', 0, room + 1)
  if #ids > room then reply[2] = 1 end
  for i = 1, math.min(#ids, room) do
    met = met + 1
    local record = not endings.seen[ids[i]] and records.found(pool, ids[i])
    if record and not record.broken and reason == 'deadline' and gap.spares(pool, ids[i], record) then
      endings.seen[ids[i]] = true
    elseif not endings.seen[ids[i]] and endings.plan_due(pool, ids[i], record, reason) then
      reply[#reply + 1] = ids[i]
    end
  end
end

if not recovering then reclaim(deadlines, now, 'deadline') end
if age_ms then reclaim(pinned, now - age_ms, 'age') end
tombstones.prepare(ended, now, limit)
if #endings.planned > 0 or #tombstones.old > 0 or #gap.deferred > 0 or recovery.begun then
  guard(events, {deadlines, pinned}, {'HDEL', 'HSET', 'UNLINK', 'XADD', 'ZADD', 'ZREM'})
end

-- Apply -------------------------------------------------------------------------------------------
tombstones.save(ended, now)
gap.save(deadlines)
recovery.save()
--@include save_account
endings.save(deadlines, pinned)
journal.save(events)
return reply
