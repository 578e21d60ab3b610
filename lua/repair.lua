#!lua flags=allow-oom
--[[
repair -- Mend what an audit found: indexes and records, then the counters.

Everything is looked at again here, in the script that writes.  `all` mends and counts anew in one call, up to
AUDIT_RECORDS_MAX records; above, `deadlines` and `pinned` mend one page each, and `totals` sets the counters to sums
that the caller took at `revision`, if nothing has changed since.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        ended        zset    call id -> ended_ms
        events       stream
        records      keys    records that no index knows, at most FINDINGS_MAX
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        items        list    of one (call, repeated, mode, cursor, revision, R, (resource, sum)*R)
Reply   per item {"repaired", cursor, total, kind, subject, detail, ...} | {"moved"} (the revision) | {"large", records}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, records, deadlines, pinned, ended, events
Cost    O(N * R)
]]
--@include args
--@include guard
--@include survey

local pool, deadlines, pinned, ended, events = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now_ms, epoch = ARGV[1], ARGV[2]
local FIXED = 5

-- Read --------------------------------------------------------------------------------------------
--@include now
args.at = 2
local call, _, mode, cursor, revision, resources = args.take(6)
local names, sums = args.amounts(resources)
revision = args.int(revision, 'revision')
args.finish(FIXED, args.records(FIXED))
if args.records(FIXED) > schema.FINDINGS_MAX then error({err = 'CONTRACT too many records'}) end

local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
--@include account
--@include tombstones
if refused then return {{refused}} end
if mode ~= 'deadlines' and mode ~= 'pinned' and tombstones.find(ended, call) then return {{'repaired', '0', 0}} end
local stored, counted, allocated = redis.call('HGETALL', pool), {}, {}
for i = 1, #stored, 2 do
  local field = stored[i]
  if string.sub(field, -9) == '.capacity' then counted[string.sub(field, 1, -10) .. '.allocated'] = true end
  if string.sub(field, -10) == '.allocated' then allocated[field] = tonumber(stored[i + 1]) end
end

local function walk(key, entries)
  for i = 1, #entries, 2 do
    survey.entry(pool, key, entries[i], tonumber(entries[i + 1]), deadlines, pinned, account.revision)
  end
end

-- Decide ------------------------------------------------------------------------------------------
local function recount(taken)
  for field in pairs(counted) do
    local sum = taken[field] or 0
    if allocated[field] ~= sum then
      local was = allocated[field] and string.format('%.0f', allocated[field]) or 'no amount'
      local name = string.sub(field, 1, -11)
      survey.find('drift', name, 'allocated ' .. was .. string.format(', records %.0f', sum), function()
        redis.call('HSET', pool, field, sum)
      end)
    end
  end
end

if mode == 'totals' then
  if revision ~= account.revision then return {{'moved'}} end
  for _, name in ipairs(names) do survey.sums[name .. '.allocated'] = sums[name] end
  recount(survey.sums)
elseif mode == 'all' then
  local records_count = redis.call('ZCARD', deadlines) + redis.call('ZCARD', pinned)
  if records_count > schema.AUDIT_RECORDS_MAX then return {{'large', records_count}} end
  walk(deadlines, redis.call('ZRANGE', deadlines, 0, -1, 'WITHSCORES'))
  walk(pinned, redis.call('ZRANGE', pinned, 0, -1, 'WITHSCORES'))
  for i = 1, args.records(FIXED) do
    survey.orphan(pool, args.record(FIXED, i), deadlines, pinned, counted)
  end
  recount(survey.sums)
  cursor = '0'
else
  local key = mode == 'deadlines' and deadlines or pinned
  local scan = redis.call('ZSCAN', key, cursor, 'COUNT', schema.PAGE_RECORDS_MAX)
  cursor = scan[1]
  walk(key, scan[2])
  for i = 1, args.records(FIXED) do
    survey.orphan(pool, args.record(FIXED, i), deadlines, pinned, counted)
  end
end

local reply = {'repaired', cursor, survey.total}
for _, value in ipairs(survey.findings) do reply[#reply + 1] = value end
if #survey.mends == 0 then return {reply} end
tombstones.add(call)
tombstones.prepare(ended, now)
guard(events, {deadlines, pinned}, {'HSET', 'PERSIST', 'UNLINK', 'XADD', 'ZADD', 'ZREM'})
account.revision = account.revision + 1

-- Apply -------------------------------------------------------------------------------------------
for i, mend in ipairs(survey.mends) do
  mend[4]()
  if i <= schema.FINDINGS_MAX then journal.add('repaired', mend[2], nil, mend[1] .. ': ' .. mend[3]) end
end
tombstones.save(ended, now)
--@include save_account
journal.save(events)
return {reply}
