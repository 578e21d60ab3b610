#!lua flags=no-writes
--[[
page -- Some of a pool's records, and where to go on.

Walks an index by ZSCAN: what is in it from the first page to the last is listed at least once, however often its
deadline moves meanwhile.  What appears or ends meanwhile may or may not be listed.

KEYS    pool         hash    the pool's account
        index        zset    deadlines or pinned
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        cursor       text    '0' to begin with
        count        int     about how many, 1 to PAGE_RECORDS_MAX
Reply   {"page", cursor, read_ms, epoch, (id, {field, value, ...})*}; cursor "0": that was all
        | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(count * R)
]]
--@include args
--@include records

local pool, index, now_ms, epoch, cursor = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]

args.at = 3
--@include now
local count = args.int(args.take(1), 'count', schema.PAGE_RECORDS_MAX)
args.finish(2, 0)

local account = redis.call('HMGET', pool, 'epoch', 'clock_ms', 'clock_offset_ms')
local account_epoch, seen_ms, offset_ms = account[1], account[2], account[3]
--@include clock
if not account_epoch then return {'unknown_pool'} end
if epoch ~= '' and epoch ~= account_epoch then return {'other_epoch'} end

local scan = redis.call('ZSCAN', index, cursor, 'COUNT', math.max(count, 1))
local reply = {'page', scan[1], now, account_epoch}
for i = 1, #scan[2], 2 do
  local id = scan[2][i]
  local record = records.found(pool, id)
  -- Broken records are for the audit, not for a listing.
  if record and not record.broken then
    reply[#reply + 1] = id
    reply[#reply + 1] = records.flat(record, {})
  end
end
return reply
