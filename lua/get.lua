#!lua flags=no-writes
--[[
get -- One record as it stands.

KEYS    pool         hash    the pool's account
        record       hash    the allocation's
ARGV    now_ms       int     not used
        epoch        text    the only pool meant, '' any
Reply   {"record", field, value, ...} (with the pool's epoch) | {"unknown"} | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(R)
]]

local pool, record, epoch = KEYS[1], KEYS[2], ARGV[2]

local account_epoch = redis.call('HGET', pool, 'epoch')
if not account_epoch then return {'unknown_pool'} end
if epoch ~= '' and epoch ~= account_epoch then return {'other_epoch'} end

local fields = redis.call('HGETALL', record)
if #fields == 0 then return {'unknown'} end
local reply = {'record', 'epoch', account_epoch}
for i, value in ipairs(fields) do reply[i + 3] = value end
return reply
