-- journal: what happened and why, to the pool's stream; changes only.
local journal = {entries = {}}

function journal.add(kind, id, record, reason)
  journal.entries[#journal.entries + 1] = {kind, id, record, reason}
end

function journal.save(key)
  for _, entry in ipairs(journal.entries) do
    local fields, n = {'kind', entry[1]}, 2
    if entry[2] then
      fields[3], fields[4], n = 'id', entry[2], 4
    end
    local record = entry[3]
    if record and record.fence then
      fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = 'owner', record.owner, 'fence', record.fence
      n = n + 4
      for i = 1, #record.list do fields[n + i] = record.list[i] end
      n = #fields
    end
    if entry[4] then
      fields[n + 1], fields[n + 2] = 'reason', entry[4]
    end
    redis.call('XADD', key, 'MAXLEN', '~', 'schema.EVENTS_MAX', '*', unpack(fields))
  end
end
