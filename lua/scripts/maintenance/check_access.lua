#!lua flags=no-writes
--[[
check_access -- Check that the caller may run the scripts' commands, and that the pool's keys have the right types.

A client sends it before its first call on a connection that may write.  Redis keeps what a script wrote before it
failed, so this checks what could fail between the writes: a command that the user may not run, or a key of the pool
with another type.

Reply   {"ready"} | {"missing", command, ...}
Writes  nothing
Cost    O(1)
]]
local arguments = require('arguments')

-- The commands with which `transaction` writes in every script that changes an allocation.
local COMMANDS = {'HDEL', 'HSET', 'UNLINK', 'XADD', 'ZADD', 'ZREM'}

return function(call)
  arguments.finish(call, 0)
  local reply = {'missing'}
  -- The in-process server has no users.
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
