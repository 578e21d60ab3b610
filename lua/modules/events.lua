-- events: what happened and why, to the pool's stream; changes only.  A grant is told by `transaction`, from its
-- arguments.
local events = {}

-- `record`: whose owner, fence and amounts it names, or nil.
function events.add(call, kind, id, record, reason)
  local entry
  if not record or not record.fence then
    entry = {'kind', kind}
    if id then entry[3], entry[4] = 'id', id end
    if reason then entry[#entry + 1], entry[#entry + 2] = 'reason', reason end
  else
    local list, n = record.list, 8
    entry = {
      'kind', kind, 'id', id, 'owner', record.owner, 'fence', record.fence, false, false, false, false, false, false,
    }
    for i = 1, #list do entry[n + i] = list[i] end
    n = n + #list
    if reason then
      entry[n + 1], entry[n + 2] = 'reason', reason
      n = n + 2
    end
    for i = #entry, n + 1, -1 do entry[i] = nil end
  end
  local planned = call.planned_events
  if planned then planned[#planned + 1] = entry else call.planned_events = {entry} end
end

return events
