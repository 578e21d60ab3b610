--@include endings
--@include gap
-- due: takes back what is past its deadline, oldest first, and only as much as a request is short of.
-- Wants `account` and `take` bound.
local due = {at = 0, max = 0, ids = false, more = false}

-- `live[key]` is set for records that this call has touched: those are not taken.
function due.open(pool, deadlines, now, max, live)
  due.pool, due.deadlines, due.now, due.max, due.live = pool, deadlines, now, max, live
end

-- True once the request fits, and then it is charged.  `due.more` says that there was more to take back than one call
-- may.
function due.make_room(list, first, last, held)
  if not due.ids then
    due.ids = redis.call('ZRANGEBYSCORE', due.deadlines, '-inf', due.now, 'LIMIT', 0, due.max + 1)
    due.more = #due.ids > due.max
  end
  while due.at < math.min(#due.ids, due.max) do
    due.at = due.at + 1
    local id = due.ids[due.at]
    local key = records.key(due.pool, id)
    local touched = due.live[key]
    if touched == nil then
      local record = records.found(due.pool, id)
      if record and not record.broken and gap.spares(due.pool, id, record) then
        due.live[key] = record
      else
        -- A broken one only leaves the index: whoever names it is to see for itself.
        if endings.plan_due(due.pool, id, record, 'deadline') then due.live[key] = false end
        if take(list, first, last, held) then return true end
      end
    elseif touched and touched.deadline_ms and touched.deadline_ms <= due.now then
      -- Answered to its own caller in this call; the next may take it.
      due.more = true
    end
  end
  return false
end
