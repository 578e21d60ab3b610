#!lua flags=no-writes
--[[
events -- The latest entries of the pool's stream, newest first.

KEYS    pool         hash    the pool's account
        events       stream
ARGV    now_ms       int     not used
        epoch        text    the only pool meant, '' any
        count        int     1 to PAGE_RECORDS_MAX
Reply   {"events", (entry id, {field, value, ...})*} | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(count)
]]
--@include args

local pool, events, epoch = KEYS[1], KEYS[2], ARGV[2]

args.at = 2
local count = args.int(args.take(1), 'count', schema.PAGE_RECORDS_MAX)
args.finish(2, 0)

local account_epoch = redis.call('HGET', pool, 'epoch')
if not account_epoch then return {'unknown_pool'} end
if epoch ~= '' and epoch ~= account_epoch then return {'other_epoch'} end

local reply = {'events'}
for _, entry in ipairs(redis.call('XREVRANGE', events, '+', '-', 'COUNT', math.max(count, 1))) do
  reply[#reply + 1] = entry[1]
  reply[#reply + 1] = entry[2]
end
return reply
