#!lua
--[[
allocate -- Grant requests, each whole or not at all, or say in numbers why not.

Items are decided in order against running totals, each seeing those before it.  A live allocation of the same id is
answered, not granted again.  Where room is short, at most RECLAIM_INLINE_MAX allocations past their deadline are taken
back, oldest first.  With `atomic` all items are granted or none.  Where the store turns out to have lost data, a pool
with a recovery grace grants nothing new for so long; fences jump ahead in any case.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
        records      keys    one for each item
ARGV    now_ms       int     0: the server's clock
        mark_epoch   text    of the pool whose fences the caller knows, '' none
        mark_fence   int     the largest of them
        epoch        text    the only pool meant, '' any
        atomic       int     1: all or none
        items        list    of (call, repeated, owner, ttl_ms, R, M, (field, amount)*R, (field, value)*M):
                             R fields `<resource>.allocated`, M fields `meta.<key>`; ttl_ms 0 pins
Reply   per item {"granted", fence, granted_ms, deadline_ms, epoch, durability} (0: pinned; durability: the pool's, or
          left out)
        | {"replayed", field, value, ...} (this very call's; with the fields epoch and durability)
        | {"existing", field, value, ...} (same owner and amounts; deadline no earlier than now + ttl)
        | {"conflict", field, value, ...} | {"ended", ended_ms}
        | {"denied", code, (resource, requested, allocated, capacity)*} | {"behind"} (more is due than this reclaims)
        | {"aborted", item} (the 1-based item that stopped a gang) | {"ttl_too_long", max_ttl_ms}
        | {"recovering", remaining_ms, why}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
Writes  pool, records, deadlines, pinned, ended, events
Cost    O(I * (R + log N) + 64 * R): I items, R resources, N live
]]
local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local keys, argv, now_ms, mark_epoch, epoch, atomic = KEYS, ARGV, ARGV[1], ARGV[2], ARGV[4], ARGV[5] == '1'
-- An item lies in ARGV and is read where it lies: copies, closures and conversions cost more than all else here.
local KEY, FIRST_ITEM, CALL, REPEATED, OWNER, TTL_MS, RESOURCES, METADATA, PAIRS = 5, 6, 0, 1, 2, 3, 4, 5, 6

-- Read --------------------------------------------------------------------------------------------
--@include now
local mark_fence = tonumber(argv[3])
if not (mark_fence and mark_fence >= 0 and mark_fence <= schema.AMOUNT_MAX and mark_fence % 1 == 0) then
  error({err = 'CONTRACT mark_fence is no integer'})
end
-- Of each item: where it begins, its last (field, amount) pair, its last argument.
local items, last_pair, last, count, at = {false}, {false}, {false}, 0, FIRST_ITEM
local fields, fields_count = {false, false, false, false, false, false, false, false, false, false, false, false}, 8

while at <= #argv do
  local ttl_ms, resources, metadata = tonumber(argv[at + TTL_MS]), tonumber(argv[at + RESOURCES]), argv[at + METADATA]
  metadata = metadata == '0' and 0 or tonumber(metadata)
  if not (resources and resources >= 1 and resources <= schema.RESOURCES_MAX and resources % 1 == 0
    and metadata and metadata >= 0 and metadata <= schema.METADATA_ENTRIES_MAX and metadata % 1 == 0)
    or at + PAIRS + 2 * (resources + metadata) - 1 > #argv
    or not ttl_ms or ttl_ms > schema.AMOUNT_MAX or string.find(argv[at + TTL_MS], '%D') or argv[at + CALL] == '' then
    error({err = 'CONTRACT item ' .. count + 1 .. ' is malformed'})
  end
  count = count + 1
  items[count], last_pair[count] = at, at + PAIRS + 2 * resources - 2
  last[count] = last_pair[count] + 2 * metadata + 1
  for pair = at + PAIRS, last_pair[count], 2 do
    for other = at + PAIRS, pair - 2, 2 do
      if argv[other] == argv[pair] then error({err = 'CONTRACT resource named twice'}) end
    end
    -- What several items ask for is read once.
    local known = false
    for earlier = 9, count > 1 and fields_count or 0, 2 do known = known or fields[earlier] == argv[pair] end
    if not known then
      fields[fields_count + 1], fields[fields_count + 2] = argv[pair], string.sub(argv[pair], 1, -11) .. '.capacity'
      fields_count = fields_count + 2
    end
  end
  at = last[count] + 1
end
if count > schema.BATCH_ITEMS_MAX or #keys ~= KEY + count then
  error({err = 'CONTRACT keys do not match the items'})
end

--@include account
local replies = {}
refused = refused or state
if refused then
  for i = 1, count do replies[i] = {refused} end
  return replies
end

--@include alarm

-- Decide ------------------------------------------------------------------------------------------
-- `live[key]` is the record as this call leaves it, false where there is none, nil where it was not looked at.
--@include take
local live, granted, meeting = {}, {}, false
local heeds = alarm or recovering

for i = 1, count do
  local item, key, reply = items[i], keys[KEY + i], false
  if meeting or heeds or max_ttl_ms and (argv[item + TTL_MS] == '0' or tonumber(argv[item + TTL_MS]) > max_ttl_ms)
    or live[key] ~= nil or redis.call('EXISTS', key) == 1 or redis.call('ZSCORE', ended, argv[item + CALL])
    or not take(argv, item + PAIRS, last_pair[i]) then
    -- A live record, an ended call, a shortage, trouble: from here on it is decided with care, by what is built now.
    if not meeting then
      --@include meeting
    end
    reply = meeting.settle(i)
  end
  if not reply then
    local ttl_ms = argv[item + TTL_MS]
    account.revision = account.revision + 1
    local new = {i = i, fence = account.revision, ttl_ms = ttl_ms, deadline_ms = ttl_ms ~= '0' and now + ttl_ms}
    granted[#granted + 1] = new
    if i < count then live[key] = new end
    reply = {'granted', new.fence, now, new.deadline_ms or 0, known_epoch, durability}
  end
  replies[i] = reply
  if meeting and meeting.stopped then break end
end
if meeting then meeting.prepare() end
-- Redis keeps what a script wrote before it failed.  XADD comes first and may fail; what follows it must not.
if #granted > 0 then
  local may = redis.acl_check_cmd
  if may and not (may('ZADD') and may('HSET')) then error({err = 'NOPERM the scripts need the commands ZADD, HSET'}) end
  redis.call('ZCARD', granted[1].deadline_ms and deadlines or pinned)
  if #granted > 1 then redis.call('ZCARD', granted[1].deadline_ms and pinned or deadlines) end
end

-- Apply -------------------------------------------------------------------------------------------
if meeting then meeting.tell() end
-- What is new comes first and what vanishes last: no key of this call goes and comes back.
for n = 1, #granted do
  local new = granted[n]
  local i, deadline_ms = new.i, new.deadline_ms
  local item, key = items[i], keys[KEY + i]
  local call = new.shared and '' or argv[item + CALL]
  -- Numbers that are written more than once become text once.
  local id, owner, fence = string.sub(key, #pool + 8), argv[item + OWNER], string.format('%.0f', new.fence)
  if new.fence == account.revision then account.revision = fence end
  redis.call('XADD', events, 'MAXLEN', '~', 'schema.EVENTS_MAX', '*', 'kind', 'granted', 'id', id, 'owner', owner,
    'fence', fence, unpack(argv, item + PAIRS, last_pair[i] + 1))
  if deadline_ms then
    deadline_ms = string.format('%.0f', deadline_ms)
    redis.call('ZADD', deadlines, deadline_ms, id)
    redis.call('HSET', key, 'owner', owner, 'fence', fence, 'call', call, 'granted_ms', now_ms,
      'ttl_ms', new.ttl_ms, 'deadline_ms', deadline_ms, unpack(argv, item + PAIRS, last[i]))
  else
    redis.call('ZADD', pinned, now_ms, id)
    redis.call('HSET', key, 'owner', owner, 'fence', fence, 'call', call, 'granted_ms', now_ms,
      unpack(argv, item + PAIRS, last[i]))
  end
end
--@include save_account
if meeting then meeting.save() end
return replies
