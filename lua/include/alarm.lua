-- alarm: whether the store has lost data.  Wants what `account` left, and `mark_epoch`, `mark_fence`: the largest
-- fence that the caller knows of the pool of that epoch.  Leaves `alarm`, false or why, and the server's `run_id`,
-- false where the pool does not ask or the server does not tell.
local alarm, run_id = false, false
if mark_fence > read_revision and mark_epoch == known_epoch then alarm = 'fences of the pool are unknown to it' end
if grace_ms then
  if redis.acl_check_cmd and not redis.acl_check_cmd('INFO') then
    error({err = 'NOPERM the scripts need the command INFO'})
  end
  -- The in-process store has no INFO, and never fails over.
  local info = redis.pcall('INFO', 'server')
  run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or false
  if run_id and stored_run ~= '' and run_id ~= stored_run then alarm = alarm or 'the server is another one' end
end
