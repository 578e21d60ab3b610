--@include endings
--@include decide
-- due: takes back what is past its deadline, oldest first, and only as much as a request is short of.
local due = {at = 0, max = 0, live = {}}

-- `live[key]` is set for records that this call has touched: those are not taken.
function due.open(pool, deadlines, now, max, live)
  due.pool, due.deadlines, due.now, due.max, due.live = pool, deadlines, now, max, live
end

-- True once the request fits.  `due.more` says that there was more to take back than one call may.
function due.make_room(names, amounts, held)
  if not due.ids then
    due.ids = redis.call('ZRANGEBYSCORE', due.deadlines, '-inf', due.now, 'LIMIT', 0, due.max + 1)
    due.more = #due.ids > due.max
  end
  while due.at < math.min(#due.ids, due.max) do
    due.at = due.at + 1
    local id = due.ids[due.at]
    local key = records.key(due.pool, id)
    if due.live[key] == nil then
      due.live[key] = false
      endings.plan_due(id, key, records.read(key))
      if decide.fits(names, amounts, held) then return true end
    end
  end
  return false
end
