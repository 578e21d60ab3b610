-- removals: plans the end of allocations, for any reason.  The amounts of a record are uncharged from the accounts that
-- it names.
local accounts = require('accounts')
local claims = require('claims')
local events = require('events')
local idempotency = require('idempotency')
local pools = require('pools')
local shares = require('shares')

local removals = {}

local function plan_removal(call, record, unlinks)
  local removed = call.removed
  if removed then removed[#removed + 1] = record else call.removed = {record} end
  record.gone, record.unlinks = true, unlinks
  call.records[record.key] = false
end

-- Uncharges the accounts that a record names, and the pool.
local function uncharge_all(call, record)
  local charged = accounts.covering(call, record)
  if charged then accounts.add_all(charged, record.list, -1) end
  return charged
end

local function complete_all(call, record)
  for _, id in ipairs(claims.ids(record)) do idempotency.complete(call, id) end
end

-- False if record and counters contradict each other; nothing is planned then.
function removals.try(call, record, kind, reason)
  local pool, list = call.pool, record.list
  local covers = not record.broken
  if covers and record.accounts then
    covers = uncharge_all(call, record)
  elseif covers then
    covers = accounts.covers(pool, list)
    if covers then accounts.add(pool, list, -1) end
  end
  if not covers then return false end
  pool.revision = pool.revision + 1
  if record.share then shares.uncharge(call, record) end
  -- Several calls, or a begun release, which has dropped their ttls and deadlines.
  if record.ttls or record.releasing_ms then
    complete_all(call, record)
  else
    local id = record.call
    idempotency.complete(call, id)
  end
  -- In a pool where a missing lease means lost data, the ended ones are recorded.
  if pool.grace_ms then idempotency.complete(call, idempotency.fence_mark(record.fence)) end
  events.add(call, kind, record.id, record, reason)
  plan_removal(call, record, true)
  return true
end

-- For a record of an item: a contradiction is an error to the caller.
function removals.plan(call, record, kind, reason)
  local done = removals.try(call, record, kind, reason)
  if not done then
    error({err = 'INVARIANT allocation ' .. record.id .. ' took more than its account has allocated'})
  end
end

-- For another record: broken data is no error.  It is removed from the index, and its charge stays for an audit.
function removals.plan_expired(call, id, key, record, reason)
  if record and removals.try(call, record, 'reclaimed', reason) then return true end
  local what = not record and 'is missing' or record.broken or 'took more than its account has allocated'
  pools.next_revision(call)
  events.add(call, 'broken', id, nil, what)
  plan_removal(call, {id = id, key = key, call = '*', list = {}}, false)
  if record then
    -- An item of this call with the same id gets the error.
    record.broken = what
    call.records[key] = record
  end
  return false
end

-- Removes a record that cannot be decoded, and its index entries.
function removals.discard(call, id, key)
  plan_removal(call, {id = id, key = key, call = '*', list = {}}, true)
end

return removals
