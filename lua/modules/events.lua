-- events: adds changes and their reasons to the pool's event stream.  The event of a grant is written by `transaction`,
-- from its arguments.
local events = {}

-- `record`: the record whose owner, fence and amounts the event has, or nil.  The actor is named where it is not that
-- owner: most changes are the owner's own, and their events say so by the owner.
function events.add(call, kind, id, record, reason)
  local entry
  if record and record.fence then
    -- The amounts are last, so that the table is built in one step.
    local fence = record.fence_text or record.fence
    if reason then
      entry = {
        'kind', kind, 'id', id, 'owner', record.owner, 'fence', fence, 'reason', reason, unpack(record.list),
      }
    else
      entry = {'kind', kind, 'id', id, 'owner', record.owner, 'fence', fence, unpack(record.list)}
    end
  else
    entry = {'kind', kind}
    if id then entry[3], entry[4] = 'id', id end
    if reason then entry[#entry + 1], entry[#entry + 2] = 'reason', reason end
  end
  local actor = call.actor
  if actor and not (record and record.fence and record.owner == actor) then
    entry[#entry + 1], entry[#entry + 2] = 'actor', actor
  end
  local planned = call.planned_events
  if planned then planned[#planned + 1] = entry else call.planned_events = {entry} end
end

return events
