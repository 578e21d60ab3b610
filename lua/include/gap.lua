--@include journal
--@include records
-- gap: leases that a gap in the pool's time would end.  The server's clock may have been set forward, or nobody
-- came: that cannot be told apart, so a lease that was live when the gap began is given that time again, once.  Its
-- holder, if there is one, renews it meanwhile.
local gap = {deferred = {}}

-- Whether this lease is spared now; then its deadline is the new one.
function gap.spares(pool, id, record)
  if gap.from_ms == nil then
    local stored = redis.call('HMGET', pool, 'gap_from_ms', 'gap_to_ms')
    gap.from_ms = gap_from_ms or tonumber(stored[1]) or false
    gap.to_ms = gap_from_ms and now or tonumber(stored[2])
  end
  local from_ms, deadline_ms = gap.from_ms, record.deadline_ms
  if not (from_ms and gap.to_ms and deadline_ms and record.ttl_ms) or record.gap_ms == from_ms
    or deadline_ms <= from_ms or deadline_ms - record.ttl_ms > from_ms then
    return false
  end
  record.deadline_ms, record.gap_ms = deadline_ms + gap.to_ms - from_ms, from_ms
  if record.deadline_ms <= now then return false end
  gap.deferred[#gap.deferred + 1] = {id, records.key(pool, id), record}
  account.revision = account.revision + 1
  journal.add('deferred', id, nil, 'the clock')
  return true
end

function gap.save(deadlines)
  for _, entry in ipairs(gap.deferred) do
    local record = entry[3]
    redis.call('ZADD', deadlines, record.deadline_ms, entry[1])
    redis.call('HSET', entry[2], 'deadline_ms', record.deadline_ms, 'gap_ms', record.gap_ms)
  end
end
