#!lua flags=allow-oom
--[[
resize -- Change what one live allocation has taken: all of it, or nothing.

The resources named change to these amounts, 0 gives one up, the others stay.  In a resource that does not grow the
request passes even where the account is overcommitted.  Runs on a full server too: whoever wants to shrink must be able
to, and growing writes a few bytes.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
        records      keys    of the one item
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        items        list    of one (call, repeated, fence, R, (field, amount)*R): R fields `<resource>.allocated`;
                             fence 0: any
Reply   per item {"resized", field, value, ...} (with the fields epoch and durability) | {"unknown"}
        | {"fenced", fence} | {"empty"} (nothing would be left) | {"too_many"} (resources)
        | {"denied", code, (resource, growth, allocated, capacity)*} | {"behind"}
        | {"recovering", remaining_ms, why} (and it would grow)
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
Writes  pool, records, ended, events; what is reclaimed also deadlines, pinned
Cost    O(R + 64 * R)
]]
--@include args
--@include guard

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, epoch = ARGV[1], ARGV[2]
local FIXED = 5

-- Read --------------------------------------------------------------------------------------------
--@include now
args.at = 2
local call, repeated, fence, resources = args.take(4)
local named, wanted = args.amounts(resources)
fence = args.int(fence, 'fence')
args.finish(FIXED, 1)

local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
for _, field in ipairs(named) do
  fields[fields_count + 1], fields[fields_count + 2] = field, string.sub(field, 1, -11) .. '.capacity'
  fields_count = fields_count + 2
end
--@include account
--@include take
--@include ledger
--@include due
--@include refusal
--@include suspect
if refused or state then return {{refused or state}} end
local key = args.record(FIXED, 1)
local id, record = records.id(pool, key), records.named(key)

-- Decide ------------------------------------------------------------------------------------------
local before, resized, repeats = {}, false, false

-- The record's (field, amount) pairs as they would be: what it has in its order, then what is new.  Zeros are last in
-- `gone`, and not in the pairs.
local function after()
  local pairs_after, gone = {}, {}
  local function add(field, amount)
    if amount > 0 then
      pairs_after[#pairs_after + 1] = field
      pairs_after[#pairs_after + 1] = string.format('%.0f', amount)
    else
      gone[#gone + 1] = field
    end
  end
  for i = 1, #record.list, 2 do
    local field = record.list[i]
    before[field] = record.amounts[field]
    add(field, wanted[field] or before[field])
  end
  for _, field in ipairs(named) do
    if not before[field] then add(field, wanted[field]) end
  end
  return pairs_after, gone
end

-- Whether there is room now or after taking back what is due; a refusal if not.
local function room(list)
  due.open(pool, deadlines, now, schema.RECLAIM_INLINE_MAX, {[key] = {}})
  local grows = false
  for field, amount in pairs(wanted) do grows = grows or amount > (before[field] or 0) end
  if grows then suspect('', 0) end
  if grows and recovering then
    return {'recovering', recovering - now, recovery.begun or redis.call('HGET', pool, 'recovering_why') or ''}
  end
  if take(list, 1, #list - 1, before) then return nil end
  local reply = refusal(list, 1, #list - 1, before)
  if reply[2] ~= 'capacity_exceeded' then return reply end
  if due.make_room(list, 1, #list - 1, before) then return nil end
  return due.more and {'behind'} or refusal(list, 1, #list - 1, before)
end

local function settle()
  local told = tombstones.told(ended, call, {'unknown', 'denied', 'empty', 'too_many'})
  if not record then return {'unknown'} end
  if told and told ~= 'denied' then return {told} end
  if fence ~= 0 and fence ~= record.fence then return {'fenced', record.fence} end
  if not told and tombstones.find(ended, call) then
    repeats = true
    return records.flat(record, {'resized', 'epoch', known_epoch, 'durability', durability or ''})
  end
  if not ledger.covers(pool, record.list) then
    error({err = 'INVARIANT allocation ' .. id .. ' took more than its account has allocated'})
  end
  local list, gone = after()
  if #list == 0 then return {'empty'} end
  if #list > 2 * schema.RESOURCES_MAX then return {'too_many'} end
  -- What was denied before is denied again, in the numbers of now.
  if told == 'denied' then return refusal(list, 1, #list - 1, before, nil, true) end
  local refusing = room(list)
  if refusing then return refusing end
  for _, field in ipairs(gone) do
    if before[field] then account.allocated[field] = account.allocated[field] - before[field] end
  end
  ledger.bump()
  record.list, resized = list, gone
  journal.add('resized', id, record)
  return records.flat(record, {'resized', 'epoch', known_epoch, 'durability', durability or ''})
end

local reply = settle()
if resized then
  tombstones.add(call)
elseif repeated == '1' and reply[1] ~= 'resized' and reply[1] ~= 'fenced' and reply[1] ~= 'behind'
  and reply[1] ~= 'recovering' then
  -- A copy of a call that changed nothing may still travel: it must not change anything later.
  tombstones.settle(call, reply[1])
end
tombstones.prepare(ended, now)
if #tombstones.calls > 0 or account.revision ~= read_revision or repeats then
  guard(events, {deadlines, pinned}, {'HDEL', 'HSET', 'UNLINK', 'XADD', 'ZADD', 'ZREM'})
end

-- Apply -------------------------------------------------------------------------------------------
-- Written again, so that the caller can wait for replicas to have it.
if repeats then redis.call('HSET', key, 'call', record.call) end
if resized then
  redis.call('HSET', key, unpack(records.flat(record, {})))
  for _, field in ipairs(resized) do redis.call('HDEL', key, field) end
end
tombstones.save(ended, now)
gap.save(deadlines)
recovery.save()
--@include save_account
endings.save(deadlines, pinned)
journal.save(events)
return {reply}
