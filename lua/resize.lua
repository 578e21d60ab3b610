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
        items        list    of one (call, repeated, fence, R, (resource, amount)*R); fence 0: any
Reply   per item {"resized", field, value, ...} | {"unknown"} | {"fenced", fence} | {"empty"} (nothing would be left)
        | {"too_many"} (resources) | {"denied", code, (resource, growth, allocated, capacity)*} | {"behind"}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
Writes  pool, records, ended, events; what is reclaimed also deadlines, pinned
Cost    O(R + 64 * R)
]]
--@include args
--@include clock
--@include due

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, epoch = ARGV[1], ARGV[2]
local FIXED = 5

-- Read --------------------------------------------------------------------------------------------
local now = clock.read(now_ms)
args.from(3)
local key, call, repeated, fence = args.record(FIXED, 1), args.text('call'), args.int('repeated'), args.int('fence')
local names, wanted = args.amounts(schema.RESOURCES_MAX)
args.finish(FIXED, 1)

local refused = account.open(pool, epoch, names) or account.state
if refused then return {{refused}} end
local id, record = records.id(pool, key), records.named(key)

-- Decide ------------------------------------------------------------------------------------------
local before, resized = {}, false

-- The record as it would be: `names` and `amounts` of what stays, in the record's order, then what is new.
local function after()
  local kept, amounts = {}, {}
  for _, name in ipairs(record.names) do
    before[name] = record.amounts[name]
    amounts[name] = wanted[name] or before[name]
    if amounts[name] > 0 then kept[#kept + 1] = name end
  end
  for _, name in ipairs(names) do
    if not before[name] and wanted[name] > 0 then
      kept[#kept + 1], amounts[name] = name, wanted[name]
    end
  end
  return kept, amounts
end

local function settle()
  if not record then return {'unknown'} end
  if fence ~= 0 and fence ~= record.fence then return {'fenced', record.fence} end
  if tombstones.find(ended, call) then return records.flat(record, {'resized'}) end
  account.load(record.names)
  if not account.covers(record.names, record.amounts) then
    error({err = 'INVARIANT ' .. key .. ' took more than its account has allocated'})
  end
  local kept, amounts = after()
  if #kept == 0 then return {'empty'} end
  if #kept > schema.RESOURCES_MAX then return {'too_many'} end
  due.open(pool, deadlines, now, schema.RECLAIM_INLINE_MAX, {[key] = record})
  if not decide.fits(kept, amounts, before) then
    local reply = decide.refusal(kept, amounts, before, {})
    if reply[2] ~= 'capacity_exceeded' then return reply end
    if not due.make_room(kept, amounts, before) then
      return due.more and {'behind'} or decide.refusal(kept, amounts, before, {})
    end
  end
  for _, name in ipairs(record.names) do account.charge(name, (amounts[name] or 0) - before[name]) end
  for _, name in ipairs(kept) do
    if not before[name] then account.charge(name, amounts[name]) end
  end
  account.bump()
  record.names, record.amounts, resized = kept, amounts, true
  journal.add('resized', id, record)
  return records.flat(record, {'resized'})
end

local reply = settle()
if resized or (reply[1] == 'denied' and repeated == 1) then tombstones.add(call) end
tombstones.prepare(ended, now)

-- Apply -------------------------------------------------------------------------------------------
if resized then
  redis.call('HSET', key, unpack(records.flat(record, {})))
  for name in pairs(before) do
    if record.amounts[name] == 0 then redis.call('HDEL', key, name .. '.allocated') end
  end
end
tombstones.save(ended, now)
account.save()
endings.save(deadlines, pinned)
journal.save(events)
return {reply}
