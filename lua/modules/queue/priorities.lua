-- priorities: the index of live allocations by priority, `<base>priorities`, of a pool that permits preemption: the
-- lowest first, and of one priority the newest first; of one millisecond by id.
local limits = require('limits')

local priorities = {}

-- Milliseconds within one priority: until the year 2109.
local INSTANTS = 4398046511104

function priorities.index(call)
  return string.sub(call.key, 1, -5) .. 'priorities'
end

-- The score of a record.
function priorities.score(record)
  return ((record.priority or 0) + limits.PRIORITY_MAX + 1) * INSTANTS - 1 - record.granted_ms
end

-- The score that is above those of all lower priorities, and below those of this one.
function priorities.floor(priority)
  return (priority + limits.PRIORITY_MAX) * INSTANTS
end

-- Enters the grants of this call.
function priorities.plan_fresh(call, plan)
  for _, one in ipairs(call.fresh) do plan(call, 'new_ranks', priorities.score(one), one.id) end
end

-- Removes what has ended in this call.
function priorities.plan_removed(call, plan)
  for _, gone in ipairs(call.removed) do
    local survivor = call.records[gone.key]
    if not (survivor and survivor.fresh) then plan(call, 'old_ranks', gone.id) end
  end
end

return priorities
