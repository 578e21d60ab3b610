-- estimates: where a denied request would stand in line if it waited, and when it could start there at the earliest.
local arrivals = require('arrivals')
local fair_order = require('fair_order')
local limits = require('limits')
local line = require('line')
local starts = require('starts')

local estimates = {}

-- Whether a denial may be over later, so that there is something to foresee.
function estimates.passes(denial)
  return denial[2] == 'queued' or denial[2] == 'capacity_exceeded'
end

-- The position in line that a request of the priority would take, and the earliest start that known deadlines allow it
-- behind those before it, 0: not foreseen.  Behind EXPLAIN_WAITERS_MAX nothing is foreseen.
function estimates.turn(call, charged, list, priority)
  -- What this call has granted, or lets leave, has moved others.
  fair_order.update(call)
  local place = arrivals.place_among(call, priority, charged)
  local position, start_ms = arrivals.position(call, place), 0
  if position <= limits.EXPLAIN_WAITERS_MAX then
    start_ms = starts.after(call, line.ahead(call, place), {charged = charged, list = list})
  end
  return position, start_ms
end

return estimates
