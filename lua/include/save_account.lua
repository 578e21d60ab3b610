-- save_account: writes the counters back, and what time it was.  Whoever changes a counter also bumps the revision: an
-- unchanged revision means that there is nothing to write, unless `clock_tells`: then the clock alone is a reason.
if account.revision ~= read_revision or clock_tells then
  local saved, n = {'revision', account.revision, false, false, false, false, false, false}, 2
  if by_server then
    saved[3], saved[4], n = 'clock_ms', now_ms, 4
    if new_offset_ms then saved[5], saved[6], n = 'clock_offset_ms', new_offset_ms, 6 end
    if gap_from_ms then
      saved[n + 1], saved[n + 2], saved[n + 3], saved[n + 4] = 'gap_from_ms', gap_from_ms, 'gap_to_ms', now_ms
      n = n + 4
      if gap_before then
        saved[n + 1], saved[n + 2] = 'gap_before_from_ms', gap_before[1]
        saved[n + 3], saved[n + 4] = 'gap_before_to_ms', gap_before[2]
        n = n + 4
      end
    end
  end
  for field, amount in pairs(account.allocated) do
    saved[n + 1], saved[n + 2] = field, amount
    n = n + 2
  end
  redis.call('HSET', pool, unpack(saved, 1, n))
end
