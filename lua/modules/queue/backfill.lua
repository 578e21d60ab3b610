-- backfill: in a pool that permits it (`queue_backfill=1`), a request that the line holds back is granted all the same
-- if it is sure to have ended before the first could start: its hard end is no later than the earliest start that known
-- deadlines allow.  Renewals make that start later, never earlier, and no renewal passes a hard end.  Where no start is
-- foreseen, as pinned allocations have no end, nobody is let through.
-- The same counts for each other waiter before it that leads: that none before it holds back.
local limits = require('limits')
local starts = require('starts')

local backfill = {}

local function size(list)
  return list and #list or 0
end

-- The start of a waiter that leads; 0: not foreseen.  It is computed anew where something has changed since, at most
-- BACKFILL_STARTS_MAX times a call.
local function start_of(call, waiter)
  local state, removed, changed = call.line, size(call.removed), size(call.changed)
  local known = waiter.start
  if known and known.forgotten == state.forgotten and known.removed == removed and known.changed == changed then
    return known.at_ms
  end
  state.starts = (state.starts or 0) + 1
  if state.starts > limits.BACKFILL_STARTS_MAX then return 0 end
  local at_ms = starts.after(call, {}, waiter.charged, waiter.list)
  waiter.start = {forgotten = state.forgotten, removed = removed, changed = changed, at_ms = at_ms}
  return at_ms
end

-- The starts have to be computed anew.  What is backfilled changes none: it ends before.
function backfill.forget(call)
  local state = call.line
  if state then state.forgotten = (state.forgotten or 0) + 1 end
end

-- Whether a request that is not charged is sure to end in time for those who lead; `leading` nil: not all are known.
function backfill.permits(call, leading, ends_ms)
  local is_sure = call.line.backfill and ends_ms and leading and leading[1] ~= nil
  for i = 1, is_sure and #leading or 0 do
    local start_ms = start_of(call, leading[i])
    is_sure = is_sure and ends_ms <= start_ms
    if not is_sure then break end
  end
  return is_sure
end

return backfill
