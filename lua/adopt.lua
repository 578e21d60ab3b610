#!lua flags=allow-oom
--[[
adopt -- Record again what a holder has and the store has lost, above capacity too: it is being used.

Only while the pool recovers and for its epoch, so that a stale holder cannot take what was given to others; an operator
may force it with a reason.  What is there already is answered, its deadline no earlier than now + ttl.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
        records      keys    one for each item
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        reason       text    of an operator who forces it, '' otherwise
        items        list    of (call, repeated, epoch, owner, fence, granted_ms, ttl_ms, R, M, (field, amount)*R,
                             (field, value)*M): epoch, owner, fence and granted_ms as granted; ttl_ms 0 pins
Reply   per item {"adopted", field, value, ...} (with the fields epoch and durability)
        | {"existing", field, value, ...} | {"conflict", field, value, ...} (other amounts, or another owner's)
        | {"fenced", fence} (granted anew since) | {"foreign"} (of another epoch) | {"ended", ended_ms}
        | {"not_recovering"} | {"not_counted", resource}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
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
local function take_item()
  local call, repeated, of_epoch, owner, fence, granted_ms, ttl_ms, resources, metadata = args.take(9)
  local item = {call = call, repeated = repeated == '1', epoch = of_epoch}
  item.record = {
    call = '', owner = owner, fence = args.int(fence, 'fence'), granted_ms = args.int(granted_ms, 'granted_ms'),
    list = {}, meta = {},
  }
  ttl_ms = args.int(ttl_ms, 'ttl_ms')
  item.ttl_ms = ttl_ms > 0 and ttl_ms
  metadata = args.int(metadata, 'metadata', schema.METADATA_ENTRIES_MAX)
  local names, amounts = args.amounts(resources)
  for i, name in ipairs(names) do
    item.record.list[2 * i - 1], item.record.list[2 * i] = name, amounts[name]
  end
  for i = 1, 2 * metadata do item.record.meta[i] = args.take(1) end
  item.record.amounts = amounts
  return item
end

args.at = 3
local items = args.items(FIXED, take_item)

local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
--@include account
--@include endings
--@include suspect
local live = refused and {} or records.of_items(items)

-- Decide ------------------------------------------------------------------------------------------
local planned = {}

local function same(wanted, record)
  if #record.list ~= #wanted.list or record.owner ~= wanted.owner then return false end
  for field, amount in pairs(wanted.amounts) do
    if record.amounts[field] ~= amount then return false end
  end
  return true
end

local function told(word, record)
  return records.flat(record, {word, 'epoch', known_epoch, 'durability', durability or ''})
end

-- The very grant is there: it lives on.
local function meet(item, record)
  if not same(item.record, record) then return told('conflict', record) end
  local deadline_ms = item.ttl_ms and now + item.ttl_ms
  if record.deadline_ms and deadline_ms and deadline_ms > record.deadline_ms and not record.releasing_ms then
    record.deadline_ms = deadline_ms
    record.had_gap, record.gap_ms = record.gap_ms, nil
  end
  planned[#planned + 1] = item
  item.found = record
  return told('existing', record)
end

-- A resource that the pool does not count, or false.
local function not_counted(list)
  for i = 1, #list, 2 do
    if not ledger.covers(pool, {list[i], 0}) then return string.sub(list[i], 1, -11) end
  end
  return false
end

local function adopt(item)
  local record, forced = item.record, reason ~= ''
  if not forced then
    local ended_ms = tombstones.find(ended, item.call)
      or tombstones.find(ended, string.format('fence:%.0f', record.fence))
    if ended_ms then return {'ended', ended_ms} end
    suspect(item.epoch, record.fence)
    if not recovering then return {'not_recovering'} end
  elseif tombstones.find(ended, item.call) then
    return {'ended', now}
  end
  recovery.believe(record.fence)
  local found, missing = live[item.key], not_counted(record.list)
  if missing then return {'not_counted', missing} end
  if found then
    endings.plan_named(pool, records.id(pool, item.key), found, 'reclaimed', 'a later grant is adopted')
    endings.survives[item.key] = record
  end
  -- Above the capacity, too.
  ledger.charge(record.list, 1)
  account.revision = math.max(account.revision + 1, record.fence)
  -- A fence of another history may be anybody's here.
  if item.epoch ~= known_epoch then record.fence = account.revision end
  record.ttl_ms, record.deadline_ms = item.ttl_ms or nil, item.ttl_ms and now + item.ttl_ms or nil
  tombstones.add(item.call)
  journal.add('adopted', records.id(pool, item.key), record, forced and reason or 'recovering')
  planned[#planned + 1] = item
  live[item.key] = record
  return told('adopted', record)
end

local function settle(item)
  if refused or state then return {refused or state} end
  local record, ours = live[item.key], item.epoch == known_epoch
  if not ours and reason == '' then return {'foreign'} end
  if record and (ours and record.fence == item.record.fence or not ours and same(item.record, record)) then
    return meet(item, record)
  end
  if record and (record.fence > item.record.fence or not ours) then return {'fenced', record.fence} end
  return adopt(item)
end

local replies = {}
for i, item in ipairs(items) do replies[i] = settle(item) end
tombstones.prepare(ended, now)
if #planned > 0 or recovery.begun then
  guard(events, {deadlines, pinned}, {'HDEL', 'HSET', 'UNLINK', 'XADD', 'ZADD', 'ZREM'})
end

-- Apply -------------------------------------------------------------------------------------------
for _, item in ipairs(planned) do
  local record, id = item.found or item.record, records.id(pool, item.key)
  local index, score = pinned, record.granted_ms
  if record.deadline_ms then index, score = deadlines, record.deadline_ms end
  redis.call('ZADD', index, score, id)
  redis.call('HSET', item.key, unpack(records.flat(record, {})))
  if record.had_gap then redis.call('HDEL', item.key, 'gap_ms') end
end
tombstones.save(ended, now)
recovery.save()
--@include save_account
endings.save(deadlines, pinned)
journal.save(events)
return replies
