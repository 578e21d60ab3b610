#!lua flags=allow-oom
--[[
begin_release -- Let allocations end by a deadline that nobody can move: what they took is still being used.

For a workload that is shutting down.  The charge stays until `release`, or until the grace has passed.  Whoever renews
meanwhile is told so, and the id is not granted again.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
        records      keys    one for each item
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        items        list    of (call, repeated, fence, grace_ms); fence 0: any
Reply   per item {"releasing", field, value, ...} (with the pool's epoch) | {"fenced", fence} | {"unknown"}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, records, deadlines, pinned, ended, events
Cost    O(I * (R + log N)): I items, R resources, N live
]]
--@include args
--@include guard

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, epoch = ARGV[1], ARGV[2]
local FIXED = 5

-- Read --------------------------------------------------------------------------------------------
--@include now
args.at = 2
local items = args.items(FIXED, function()
  local call, repeated, fence, grace_ms = args.take(4)
  return {
    call = call, repeated = repeated == '1', fence = args.int(fence, 'fence'),
    grace_ms = args.int(grace_ms, 'grace_ms'),
  }
end)

local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
--@include account
--@include ledger
--@include records
--@include tombstones
local live = refused and {} or records.of_items(items)

-- Decide ------------------------------------------------------------------------------------------
local planned = {}

local function settle(item)
  if refused then return {refused} end
  local record = live[item.key]
  if not record or tombstones.told(ended, item.call, {'unknown'}) then
    if item.repeated then tombstones.settle(item.call, 'unknown') end
    return {'unknown'}
  end
  if item.fence ~= 0 and item.fence ~= record.fence then return {'fenced', record.fence} end
  if not record.releasing_ms and not tombstones.find(ended, item.call) then
    record.unpinned, record.had_gap, record.gap_ms = not record.deadline_ms, record.gap_ms, nil
    record.releasing_ms, record.ttl_ms, record.deadline_ms = now, item.grace_ms, now + item.grace_ms
    ledger.bump()
    tombstones.add(item.call)
    journal.add('releasing', records.id(pool, item.key), record)
    planned[#planned + 1] = {item.key, record}
  end
  return records.flat(record, {'releasing', 'epoch', known_epoch})
end

local replies = {}
for i, item in ipairs(items) do replies[i] = settle(item) end
tombstones.prepare(ended, now)
if #tombstones.calls > 0 then guard(events, {deadlines, pinned}, {'HDEL', 'HSET', 'XADD', 'ZADD', 'ZREM'}) end

-- Apply -------------------------------------------------------------------------------------------
for _, entry in ipairs(planned) do
  local record, id = entry[2], records.id(pool, entry[1])
  redis.call('ZADD', deadlines, record.deadline_ms, id)
  redis.call('HSET', entry[1], 'releasing_ms', record.releasing_ms, 'ttl_ms', record.ttl_ms, 'deadline_ms',
    record.deadline_ms)
  if record.had_gap then redis.call('HDEL', entry[1], 'gap_ms') end
  if record.unpinned then redis.call('ZREM', pinned, id) end
end
tombstones.save(ended, now)
--@include save_account
journal.save(events)
return replies
