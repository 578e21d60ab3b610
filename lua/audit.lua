#!lua flags=no-writes
--[[
audit -- Read records against their indexes and sum what they took.

With `all`, every record in this one call, up to AUDIT_RECORDS_MAX of them; else one page of one index, which the caller
adds up as long as `revision` stands still.  The counters come along, to be compared with the sums.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
ARGV    now_ms       int     not used
        epoch        text    the only pool meant, '' any
        index        text    all, deadlines or pinned
        cursor       text    '0' to begin with
        count        int     about how many of a page, 1 to PAGE_RECORDS_MAX
Reply   {"audit", revision, cursor, records, total, {resource, sum, ...}, {field, value, ...} of the account,
         {id, ...}, {kind, subject, detail, ...}}
        | {"large", records} | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(N * R), about 2.5 us a record
]]
--@include args
--@include survey

local pool, deadlines, pinned = KEYS[1], KEYS[2], KEYS[3]
local epoch, index, cursor = ARGV[2], ARGV[3], ARGV[4]

args.at = 4
local count = args.int(args.take(1), 'count', schema.PAGE_RECORDS_MAX)
args.finish(3, 0)

local fields = redis.call('HMGET', pool, 'epoch', 'revision')
if not fields[1] then return {'unknown_pool'} end
if epoch ~= '' and epoch ~= fields[1] then return {'other_epoch'} end
local revision = tonumber(fields[2]) or 0

local function walk(key, entries)
  for i = 1, #entries, 2 do
    survey.entry(pool, key, entries[i], tonumber(entries[i + 1]), deadlines, pinned, revision)
  end
end

if index == 'all' then
  local records_count = redis.call('ZCARD', deadlines) + redis.call('ZCARD', pinned)
  if records_count > schema.AUDIT_RECORDS_MAX then return {'large', records_count} end
  walk(deadlines, redis.call('ZRANGE', deadlines, 0, -1, 'WITHSCORES'))
  walk(pinned, redis.call('ZRANGE', pinned, 0, -1, 'WITHSCORES'))
  cursor, survey.ids = '0', {}
else
  local key = index == 'deadlines' and deadlines or pinned
  local scan = redis.call('ZSCAN', key, cursor, 'COUNT', math.max(count, 1))
  cursor = scan[1]
  walk(key, scan[2])
end

local sums = {}
for field, sum in pairs(survey.sums) do
  sums[#sums + 1] = string.sub(field, 1, -11)
  sums[#sums + 1] = sum
end
return {
  'audit', revision, cursor, survey.records, survey.total, sums, redis.call('HGETALL', pool), survey.ids,
  survey.findings,
}
