#!lua flags=no-writes
--[[
orphans -- Which of these records does no index know?

The driver finds candidates by SCAN, which is no snapshot; this confirms them in one.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
        pinned       zset    id -> granted_ms
        records      keys    the candidates, at most PAGE_RECORDS_MAX
ARGV    now_ms       int     not used
        epoch        text    the only pool meant, '' any
Reply   {"orphans", id, ...} | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(candidates)
]]
--@include args
--@include records

local pool, deadlines, pinned, epoch = KEYS[1], KEYS[2], KEYS[3], ARGV[2]
local FIXED = 3

local account_epoch = redis.call('HGET', pool, 'epoch')
if not account_epoch then return {'unknown_pool'} end
if epoch ~= '' and epoch ~= account_epoch then return {'other_epoch'} end
if args.records(FIXED) > schema.PAGE_RECORDS_MAX then error({err = 'CONTRACT too many records'}) end

local reply = {'orphans'}
for i = 1, args.records(FIXED) do
  local key = args.record(FIXED, i)
  local id = records.id(pool, key)
  local known = redis.call('ZSCORE', deadlines, id) or redis.call('ZSCORE', pinned, id)
  if not known and redis.call('EXISTS', key) == 1 then reply[#reply + 1] = id end
end
return reply
