#!lua
--[[
allocate -- Grant requests, each whole or not at all, or say in numbers why not.

Items are decided in order against running totals, each seeing those before it.  A live allocation of the same id is
answered, not granted again.  Where room is short, at most RECLAIM_INLINE_MAX allocations past their deadline are taken
back, oldest first.  With `atomic` all items are granted or none.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
        records      keys    one for each item
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        atomic       int     1: all or none
        items        list    of (call, repeated, owner, ttl_ms, R, (resource, amount)*R, M, (key, value)*M);
                             ttl_ms 0 pins
Reply   per item {"granted", fence, granted_ms, deadline_ms} (0: pinned)
        | {"replayed", field, value, ...} (this very call's)
        | {"existing", field, value, ...} (same owner and amounts; deadline no earlier than now + ttl)
        | {"conflict", field, value, ...} | {"ended", ended_ms}
        | {"denied", code, (resource, requested, allocated, capacity)*} | {"behind"} (more is due than this reclaims)
        | {"aborted", item} (the 1-based item that stopped a gang)
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
Writes  pool, records, deadlines, pinned, ended, events
Cost    O(I * (R + log N) + 64 * R): I items, R resources, N live
]]
--@include args
--@include clock
--@include due

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, epoch, atomic = ARGV[1], ARGV[2], ARGV[3]
local FIXED = 5

-- Read --------------------------------------------------------------------------------------------
local now = clock.read(now_ms)
local items, named, seen = {}, {}, {}

args.from(4)
while args.more() do
  local i = #items + 1
  local item = {key = args.record(FIXED, i), call = args.text('call'), repeated = args.int('repeated')}
  item.owner, item.ttl_ms = args.text('owner'), args.int('ttl_ms')
  item.names, item.amounts = args.amounts(schema.RESOURCES_MAX)
  item.meta = {}
  for m = 1, 2 * args.bounded('metadata', schema.METADATA_ENTRIES_MAX), 2 do
    item.meta[m], item.meta[m + 1] = 'meta.' .. args.text('key'), args.text('value')
  end
  for _, name in ipairs(item.names) do
    if not seen[name] then
      seen[name] = true
      named[#named + 1] = name
    end
  end
  items[i] = item
end
args.finish(FIXED, #items)
if #items > schema.BATCH_ITEMS_MAX then error({err = 'CONTRACT too many items'}) end

local refused = account.open(pool, epoch, named) or account.state
if refused then
  local replies = {}
  for i = 1, #items do replies[i] = {refused} end
  return replies
end

-- Decide ------------------------------------------------------------------------------------------
-- `live[key]` is the record as this call leaves it, false where there is none, nil where it was not looked at.
local live, writes, replies, nothing = {}, {}, {}, {}
local asked, stopped = {}, nil
due.open(pool, deadlines, now, schema.RECLAIM_INLINE_MAX, live)

local function write(item, record)
  if not record.written then writes[#writes + 1] = {item.key, record} end
  record.written = true
end

local function grant(item)
  local record = {call = item.call, owner = item.owner, names = item.names, amounts = item.amounts, meta = item.meta}
  for _, name in ipairs(item.names) do account.charge(name, item.amounts[name]) end
  record.fence, record.granted_ms, record.created = account.bump(), now, true
  if item.ttl_ms > 0 then
    record.ttl_ms, record.deadline_ms = item.ttl_ms, now + item.ttl_ms
  end
  live[item.key] = record
  write(item, record)
  return {'granted', record.fence, now, record.deadline_ms or 0}
end

-- A live allocation of this id: this call's own, the same request's, or a conflict.  nil where it was past its
-- deadline and is reclaimed.
local function meet(item, record)
  if record.call == item.call then return records.flat(record, {'replayed'}) end
  if record.deadline_ms and record.deadline_ms <= now then
    endings.plan_named(records.id(pool, item.key), item.key, record, 'reclaimed', 'deadline')
    item.stale, live[item.key] = record, false
    return nil
  end
  if record.owner ~= item.owner or not records.same_amounts(record, item.names, item.amounts) then
    return records.flat(record, {'conflict'})
  end
  if record.deadline_ms and item.ttl_ms == 0 then
    record.ttl_ms, record.deadline_ms, record.now_pinned = nil, nil, not record.created
    account.bump()
    write(item, record)
  elseif record.deadline_ms and now + item.ttl_ms > record.deadline_ms then
    record.ttl_ms, record.deadline_ms = item.ttl_ms, now + item.ttl_ms
    write(item, record)
  end
  return records.flat(record, {'existing'})
end

local function settle(item)
  local record = live[item.key]
  if record == nil and redis.call('EXISTS', item.key) == 1 then record = records.named(item.key) end
  live[item.key] = record or false
  local met = record and meet(item, record)
  if met then return met end
  local ended_ms = tombstones.find(ended, item.call)
  if ended_ms then return {'ended', ended_ms} end
  for _, name in ipairs(item.names) do asked[name] = (asked[name] or 0) + item.amounts[name] end
  if decide.fits(item.names, item.amounts, nothing) then return grant(item) end
  local reply = decide.refusal(item.names, item.amounts, nothing, atomic == '1' and asked or nothing)
  if reply[2] ~= 'capacity_exceeded' then return reply end
  if due.make_room(item.names, item.amounts, nothing) then return grant(item) end
  if due.more then return {'behind'} end
  return decide.refusal(item.names, item.amounts, nothing, nothing)
end

local final = {denied = true, conflict = true}
for i, item in ipairs(items) do
  replies[i] = settle(item)
  local word = replies[i][1]
  -- A copy of an item that was refused in the end may still travel: it must not be granted later.
  if final[word] and item.repeated == 1 and atomic ~= '1' then tombstones.add(item.call) end
  if atomic == '1' and (final[word] or word == 'ended' or word == 'behind') then
    stopped = i
    break
  end
end

if stopped then
  local word = replies[stopped][1]
  for _, planned in ipairs(writes) do
    local key, record = planned[1], planned[2]
    if record.created then
      for _, name in ipairs(record.names) do account.charge(name, -record.amounts[name]) end
      live[key] = false
    end
  end
  writes, account.revision = {}, account.read_revision + #endings.planned
  for i, item in ipairs(items) do
    if i ~= stopped then replies[i] = {word == 'behind' and 'behind' or 'aborted', stopped} end
    if item.repeated == 1 and word ~= 'behind' then tombstones.add(item.call) end
  end
end
tombstones.prepare(ended, now)

-- Apply -------------------------------------------------------------------------------------------
-- What is new comes first and what vanishes last: no key of this call goes and comes back.
local leased, held = {}, {}
for _, planned in ipairs(writes) do
  local key, record = planned[1], planned[2]
  local id = records.id(pool, key)
  redis.call('HSET', key, unpack(records.flat(record, {})))
  local index = record.deadline_ms and leased or held
  index[#index + 1], index[#index + 2] = record.deadline_ms or record.granted_ms, id
  if record.created then
    endings.survives[key] = record
    journal.add('granted', id, record)
  end
end
if #leased > 0 then redis.call('ZADD', deadlines, unpack(leased)) end
if #held > 0 then redis.call('ZADD', pinned, unpack(held)) end
for _, planned in ipairs(writes) do
  if planned[2].now_pinned then
    redis.call('HDEL', planned[1], 'ttl_ms', 'deadline_ms')
    redis.call('ZREM', deadlines, records.id(pool, planned[1]))
  end
end
tombstones.save(ended, now)
account.save()
endings.save(deadlines, pinned)
journal.save(events)
return replies
