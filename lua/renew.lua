#!lua flags=allow-oom
--[[
renew -- Extend leases; never shorten one unless asked.

A lease past its deadline that nobody reclaimed yet is renewed: nobody had been given its room.  Renewals are no
events and leave the pool's revision alone, unless they shorten: then the call is remembered, so that a late copy
cannot shorten again.

A lease that should be there and is not means that the store has lost data.  In a pool with a recovery grace that
begins a recovery, and while there is one the holder is told to adopt.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
        records      keys    one for each item
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        items        list    of (call, repeated, fence, ttl_ms, shorten, epoch, known_ms); fence 0: any; ttl_ms 0: the
                             record's; epoch: the pool's that granted it, '' any; known_ms: the deadline that its holder
                             knows, 0 none
Reply   per item {"renewed", fence, deadline_ms, durability} (0: pinned; durability: the pool's, or left out)
        | {"fenced", fence} | {"unknown"} | {"missing", remaining_ms} (of the recovery: adopt it)
        | {"foreign"} (of another epoch) | {"releasing"} | {"ttl_too_long", max_ttl_ms}
        | {"emptied"} (no pool, and nobody deleted it) | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  records, deadlines, pool; when one is shortened or a recovery begins also pinned, ended, events
Cost    O(I * log N): I items, N live
]]
--@include args
--@include guard
--@include records

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, epoch = ARGV[1], ARGV[2]
local FIXED = 5

-- Read --------------------------------------------------------------------------------------------
--@include now
args.at = 2
local items = args.items(FIXED, function()
  local call, repeated, fence, ttl_ms, shorten, of_epoch, known_ms = args.take(7)
  return {
    call = call, fence = args.int(fence, 'fence'), ttl_ms = args.int(ttl_ms, 'ttl_ms'),
    shorten = shorten == '1', repeated = repeated == '1', epoch = of_epoch, known_ms = args.int(known_ms, 'known_ms'),
  }
end)

local function read(key)
  local fields = redis.call('HMGET', key, 'fence', 'ttl_ms', 'deadline_ms', 'releasing_ms', 'gap_ms')
  if not fields[1] then
    if redis.call('EXISTS', key) == 1 then error({err = 'INVARIANT ' .. key .. ' has no fence'}) end
    return false
  end
  local fence, ttl_ms, deadline_ms = tonumber(fields[1]), tonumber(fields[2]), tonumber(fields[3])
  if not fence or (fields[2] or fields[3]) and not (ttl_ms and deadline_ms) then
    error({err = 'INVARIANT ' .. key .. ' has no numbers for fence, ttl_ms and deadline_ms'})
  end
  return {key = key, fence = fence, ttl_ms = ttl_ms, deadline_ms = deadline_ms, releasing = fields[4], gap = fields[5]}
end

local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
--@include account
--@include tombstones
--@include absent

-- Decide ------------------------------------------------------------------------------------------
local live, writes = {}, {}

local function shorten(item, record, deadline_ms)
  -- Read whole, for the event; what was pinned becomes a lease.
  record.whole, record.unpinned = records.named(item.key), record.unpinned or not record.deadline_ms
  record.ttl_ms = record.ttl_ms or item.ttl_ms
  record.deadline_ms = deadline_ms
  account.revision = account.revision + 1
end

local function settle(item)
  if refused then return absent(item) end
  if item.epoch ~= '' and item.epoch ~= known_epoch then return {'foreign'} end
  local record = live[item.key]
  if record == nil then
    record = read(item.key)
    live[item.key] = record
  end
  local repeats = item.shorten and tombstones.find(ended, item.call)
  if not record or repeats and tombstones.told(ended, item.call, {'unknown'}) then
    if item.shorten and item.repeated then tombstones.settle(item.call, 'unknown') end
    return absent(item)
  end
  if item.fence ~= 0 and item.fence ~= record.fence then return {'fenced', record.fence} end
  if repeats then return {'renewed', record.fence, record.deadline_ms or 0, durability} end
  if record.releasing then return {'releasing'} end
  if max_ttl_ms and item.ttl_ms > math.max(max_ttl_ms, record.ttl_ms or 0) then return {'ttl_too_long', max_ttl_ms} end
  if item.shorten then tombstones.add(item.call) end
  local ttl_ms = item.ttl_ms > 0 and item.ttl_ms or record.ttl_ms
  local deadline_ms = ttl_ms and now + ttl_ms
  if record.deadline_ms and deadline_ms >= record.deadline_ms then
    record.deadline_ms = deadline_ms
  elseif item.shorten and deadline_ms then
    shorten(item, record, deadline_ms)
  end
  if not record.planned then writes[#writes + 1] = record end
  record.planned = true
  return {'renewed', record.fence, record.deadline_ms or 0, durability}
end

local replies, index = {}, {}
for i, item in ipairs(items) do replies[i] = settle(item) end
tombstones.prepare(ended, now)
if #writes > 0 then
  guard(false, {deadlines}, {'HDEL', 'HSET', 'ZADD'})
end
if #tombstones.calls > 0 or recovery.begun then
  guard(events, {deadlines, pinned}, {'XADD', 'ZREM'})
end

-- Apply -------------------------------------------------------------------------------------------
for _, record in ipairs(writes) do
  if record.deadline_ms then
    redis.call('HSET', record.key, 'ttl_ms', record.ttl_ms, 'deadline_ms', record.deadline_ms)
    -- From here on its deadline is its own again.
    if record.gap then redis.call('HDEL', record.key, 'gap_ms') end
    index[#index + 1], index[#index + 2] = record.deadline_ms, records.id(pool, record.key)
  end
end
if #index > 0 then redis.call('ZADD', deadlines, unpack(index)) end
for _, record in ipairs(writes) do
  if record.unpinned then redis.call('ZREM', pinned, records.id(pool, record.key)) end
  if record.whole then journal.add('renewed', records.id(pool, record.key), record.whole, 'shortened') end
end
tombstones.save(ended, now)
recovery.save()
clock_tells = clock_due and #writes > 0
--@include save_account
journal.save(events)
return replies
