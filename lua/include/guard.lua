-- guard: the last look before the first write.  Redis keeps what a script wrote before it failed, so what could fail in
-- the middle must fail here: a key of ours that holds another type, a command that the user may not run.
local function guard(stream, indexes, commands)
  if stream ~= false then redis.call('XLEN', stream) end
  for i = 1, #indexes do redis.call('ZCARD', indexes[i]) end
  -- The in-process store knows no users.
  if not redis.acl_check_cmd then return end
  for i = 1, #commands do
    if not redis.acl_check_cmd(commands[i]) then
      error({err = 'NOPERM the scripts need the command ' .. commands[i]})
    end
  end
end
