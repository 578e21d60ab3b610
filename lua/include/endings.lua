--@include ledger
--@include records
--@include tombstones
--@include journal
-- endings: allocations that end in this call, for whatever reason.  What a record says it took is what comes back.
-- Wants what `account` left.
-- `plan` reads and decides, `save` writes.  `survives[key]` says that the id is granted anew in this very call, so that
-- neither its key nor its place in that index may vanish in between (a slot may be migrating).
local endings = {planned = {}, seen = {}, survives = {}}

local function add(pool, id, record, unlinks)
  endings.seen[id] = true
  endings.planned[#endings.planned + 1] = {id = id, key = records.key(pool, id), record = record, unlinks = unlinks}
end

-- False where record and counters contradict each other.  What was planned already is not given back twice.
function endings.plan(pool, id, record, kind, reason)
  if endings.seen[id] then return true end
  if record.broken or not ledger.covers(pool, record.list) then return false end
  ledger.charge(record.list, -1)
  ledger.bump()
  tombstones.add(record.call)
  -- Where a lease that has gone missing means lost data, it must be known which ones ended.
  if grace_ms then tombstones.add(string.format('fence:%.0f', record.fence)) end
  journal.add(kind, id, record, reason)
  add(pool, id, record, true)
  return true
end

-- The same for a record that the caller named: it hears of the contradiction.
function endings.plan_named(pool, id, record, kind, reason)
  if not endings.plan(pool, id, record, kind, reason) then
    error({err = 'INVARIANT allocation ' .. id .. ' took more than its account has allocated'})
  end
end

-- The same for a bystander: broken data never fails the caller.  It leaves the index, its charge stays for the audit.
function endings.plan_due(pool, id, record, reason)
  if record and endings.plan(pool, id, record, 'reclaimed', reason) then return true end
  local what = not record and 'is missing' or record.broken or 'took more than its account has allocated'
  ledger.bump()
  journal.add('broken', id, nil, what)
  add(pool, id, nil, false)
  return false
end

-- Removes whatever there is of an allocation that cannot be read.
function endings.discard(pool, id)
  if not endings.seen[id] then add(pool, id, nil, true) end
end

-- The fields that an ended record had and the new one of the same key has not.
local function stale_fields(old, survivor)
  local kept, stale = {}, {}
  local new, flat = records.flat(survivor, {}), records.flat(old, {})
  for i = 1, #new, 2 do kept[new[i]] = true end
  for i = 1, #flat, 2 do
    if not kept[flat[i]] then stale[#stale + 1] = flat[i] end
  end
  return stale
end

function endings.save(deadlines, pinned)
  for _, ending in ipairs(endings.planned) do
    local id, key, survivor = ending.id, ending.key, endings.survives[ending.key]
    if not survivor then
      if ending.unlinks then redis.call('UNLINK', key) end
    elseif ending.record then
      local stale = stale_fields(ending.record, survivor)
      if #stale > 0 then redis.call('HDEL', key, unpack(stale)) end
    end
    if not (survivor and survivor.deadline_ms) then redis.call('ZREM', deadlines, id) end
    if not survivor or survivor.deadline_ms then redis.call('ZREM', pinned, id) end
  end
end
