-- save_account: writes the counters back.  Whoever changes one also bumps the revision: an unchanged revision means
-- that there is nothing to write.
if account.revision ~= read_revision then
  local saved, n = {'revision', account.revision, false, false, false, false}, 2
  for field, amount in pairs(account.allocated) do
    saved[n + 1], saved[n + 2] = field, amount
    n = n + 2
  end
  redis.call('HSET', pool, unpack(saved, 1, n))
end
