--@include journal
--@include records
-- gap: leases that a gap in the pool's time would end.  The server's clock may have been set forward, or nobody
-- came: that cannot be told apart, so a lease that was live when the gap began is given that time again.  Its holder,
-- if there is one, renews it meanwhile; until then `gap_ms` marks it, and it is not spared again: in a pool that is
-- seldom used every look would find another gap, and what nobody renews would never come back.
local gap = {deferred = {}}

-- From when until when, the earlier gap first: the last one, and the longest before it.
function gap.read(pool)
  local found = {}
  local stored = redis.call('HMGET', pool, 'gap_before_from_ms', 'gap_before_to_ms', 'gap_from_ms', 'gap_to_ms')
  if gap_from_ms then
    local before = gap_before or {}
    stored = {before[1], before[2], gap_from_ms, now}
  end
  for i = 1, 3, 2 do
    local from_ms, to_ms = tonumber(stored[i]), tonumber(stored[i + 1])
    if from_ms and to_ms then found[#found + 1], found[#found + 2] = from_ms, to_ms end
  end
  return found
end

-- Whether this lease is spared now; then its deadline is the new one.
function gap.spares(pool, id, record)
  if record.gap_ms or not (record.deadline_ms and record.ttl_ms) then return false end
  gap.all = gap.all or gap.read(pool)
  local deadline_ms, renewed_ms = record.deadline_ms, record.deadline_ms - record.ttl_ms
  for i = 1, #gap.all, 2 do
    local from_ms, to_ms = gap.all[i], gap.all[i + 1]
    -- Begun before it was over: a renewal just before it may be later than when the pool was last seen.
    if deadline_ms > from_ms and renewed_ms < to_ms then
      deadline_ms, record.gap_ms = deadline_ms + to_ms - from_ms, from_ms
    end
  end
  if deadline_ms == record.deadline_ms or deadline_ms <= now then
    record.gap_ms = nil
    return false
  end
  record.deadline_ms = deadline_ms
  -- By its own figures: whoever shares the record later in this call changes it, and is written after this.
  gap.deferred[#gap.deferred + 1] = {id, records.key(pool, id), deadline_ms, record.gap_ms}
  account.revision = account.revision + 1
  journal.add('deferred', id, nil, 'the clock')
  return true
end

function gap.save(deadlines)
  for _, entry in ipairs(gap.deferred) do
    redis.call('ZADD', deadlines, entry[3], entry[1])
    redis.call('HSET', entry[2], 'deadline_ms', entry[3], 'gap_ms', entry[4])
  end
end
