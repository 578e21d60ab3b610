#!lua flags=no-writes
--[[
check_access -- May the caller's commands and the pool's keys be written by the scripts?

Sent by a client before its first call on a connection that may write.  Redis keeps what a script wrote before it
failed, so what could fail in the midst of the writes is looked at here: a command that the user may not run, a key of
the pool that holds another type.

Reply   {"ready"} | {"missing", command, ...}
Writes  nothing
Cost    O(1)
]]
local arguments = require('arguments')

-- What `transaction` writes with, in every script that changes an allocation.
local COMMANDS = {'HDEL', 'HSET', 'UNLINK', 'XADD', 'ZADD', 'ZREM'}

return function(call)
  arguments.finish(call, 0)
  local reply = {'missing'}
  -- The in-process store knows no users.
  for i = 1, redis.acl_check_cmd and #COMMANDS or 0 do
    if not redis.acl_check_cmd(COMMANDS[i]) then reply[#reply + 1] = COMMANDS[i] end
  end
  if #reply > 1 then return reply end
  redis.call('HGET', call.key, 'epoch')
  redis.call('XLEN', call.events)
  redis.call('ZCARD', call.deadlines)
  redis.call('ZCARD', call.pinned)
  redis.call('ZCARD', call.ended)
  return {'ready'}
end
