#!lua flags=allow-oom
--[[
release -- Give back what allocations took, once.

The amounts come from the record, never from the caller.  A repeated call is answered as the first time; the call that
granted the allocation ends with it, so that a late copy of that one grants nothing.  What should be there and is not
begins a recovery, as in `renew`, and is not adopted any more.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
        records      keys    one for each item
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        reason       text    for the event
        items        list    of (call, repeated, fence, epoch, known_ms); fence 0: any; epoch: the pool's that granted
                             it, '' any; known_ms: the deadline that its holder knows, 0 none
Reply   per item {"released", ended_ms} | {"fenced", fence} | {"unknown"} | {"foreign"} (of another epoch)
        | {"missing", remaining_ms} (of the recovery) | {"emptied"} (no pool, and nobody deleted it)
        | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, records, deadlines, pinned, ended, events
Cost    O(I * (R + log N)): I items, R resources, N live
]]
--@include args
--@include guard

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, epoch, reason = ARGV[1], ARGV[2], ARGV[3]
local FIXED = 5

-- Read --------------------------------------------------------------------------------------------
--@include now
args.at = 3
local items = args.items(FIXED, function()
  local call, repeated, fence, of_epoch, known_ms = args.take(5)
  return {
    call = call, repeated = repeated == '1', fence = args.int(fence, 'fence'), epoch = of_epoch,
    known_ms = args.int(known_ms, 'known_ms'),
  }
end)

local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
--@include account
--@include endings
--@include absent
local live = refused and {} or records.of_items(items)

-- Decide ------------------------------------------------------------------------------------------
local function settle(item)
  if refused then return absent(item) end
  local foreign = item.epoch ~= '' and item.epoch ~= known_epoch
  local ended_ms = tombstones.find(ended, item.call)
  if ended_ms then
    return tombstones.told(ended, item.call, {'unknown'}) and {'unknown'} or {'released', ended_ms}
  end
  local record = live[item.key]
  if not record then
    local reply = foreign and {'unknown'} or absent(item)
    if reply[1] == 'missing' then
      tombstones.add(string.format('fence:%.0f', item.fence))
    elseif item.repeated then
      tombstones.settle(item.call, 'unknown')
    end
    return reply
  end
  if item.fence ~= 0 and item.fence ~= record.fence then return {'fenced', record.fence} end
  if foreign then return {'foreign'} end
  endings.plan_named(pool, records.id(pool, item.key), record, 'released', reason)
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
recovery.save()
--@include save_account
endings.save(deadlines, pinned)
journal.save(events)
return replies
