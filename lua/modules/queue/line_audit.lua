-- line_audit: compares the line with its entries, the members of its gangs and the live records, and its index by scope
-- with both; the first AUDIT_WAITERS_MAX of each.
local audits = require('audits')
local fair_order = require('fair_order')
local limits = require('limits')
local line_entries = require('line_entries')
local pools = require('pools')
local records = require('records')
local waiters = require('waiters')

local line_audit = {}

-- The corrections.
local function remove(call, waiter)
  line_entries.open(call).known[waiter.id] = waiter
  line_entries.remove(call, waiter)
end

local function mark(call)
  pools.set_option(call, 'waits', '1')
end

local function add_member(call, name)
  line_entries.open(call).memberships[name] = true
end

local function remove_member(call, name)
  line_entries.open(call).memberships[name] = false
end

local function sort_in(call, waiter)
  local members = line_entries.open(call).members
  members[#members + 1] = waiter
end

local function sort_out(call, target)
  local strays = line_entries.open(call).strays
  strays[#strays + 1] = target.member
end

-- Whether an id of the waiter is live that was not so when its client last asked.
local function is_live(call, waiter)
  for _, one in ipairs(waiter.members or {waiter}) do
    if not one.live and records.at_id(call, one.id) then return true end
  end
  return false
end

-- The members of a gang are in their index.
local function inspect_members(call, gang)
  for n = 2, gang.members and #gang.members or 0 do
    local name = waiters.membership(gang.members[n], gang)
    if not redis.call('ZSCORE', waiters.gangs(call), name) then
      audits.report(call, 'missing_member', gang.members[n].id, 'it waits, and is in no index', add_member, name)
    end
  end
end

-- A waiter is in the indexes.
local function inspect_indexes(call, waiter)
  if waiter.number and not redis.call('ZSCORE', fair_order.index(call), fair_order.member(waiter)) then
    audits.report(call, 'unsorted_waiter', waiter.id, 'not in the index by scope', sort_in, waiter)
  end
  inspect_members(call, waiter)
end

-- Returns of how many requests the waiter consists.
local function inspect(call, id, place)
  local waiter = waiters.read(call, id, place)
  call.audit.by_scope = call.audit.by_scope or waiter and waiter.number
  local target = waiter or {id = id, key = waiters.key(call, id), place = place}
  if not waiter then
    audits.report(call, 'missing_waiter', id, 'in line, and not there', remove, target)
  elseif waiter.broken then
    audits.report(call, 'broken_waiter', id, waiter.broken, remove, target)
    return 1
  elseif is_live(call, waiter) then
    audits.report(call, 'live_waiter', id, 'it waits, and is live', remove, target)
  elseif place < waiters.place(waiter.priority, 0) or place > waiters.last_place(waiter.priority) then
    audits.report(call, 'wrong_place', id, 'its priority says otherwise', remove, target)
  else
    inspect_indexes(call, waiter)
  end
  return waiter and waiters.size(waiter) or 1
end

-- The gang in line of that id; `known` has those that are read.
local function gang_of(call, first, known)
  if known[first] == nil then
    local gang = redis.call('ZSCORE', waiters.index(call), first) and waiters.read(call, first)
    known[first] = gang and not gang.broken and gang or false
  end
  return known[first]
end

-- An entry of the index of members is that of a gang in line.
local function inspect_membership(call, name, known)
  local id, first = string.match(name, '^(%S+) (%S+)$')
  local gang = first and gang_of(call, first, known)
  if not (gang and waiters.member(gang, id)) then
    audits.report(call, 'stale_member', name, 'indexed, and not in line', remove_member, name)
  end
end

-- Members of the index by scope that belong to nobody in line.
local function inspect_index(call)
  for _, member in ipairs(redis.call('ZRANGE', fair_order.index(call), 0, limits.AUDIT_WAITERS_MAX - 1)) do
    local id = string.match(member, ' (%S+)$')
    local waiter = id and waiters.read(call, id, nil)
    local is_right = waiter and waiter.number and not waiter.broken and fair_order.member(waiter) == member
    if not is_right or not redis.call('ZSCORE', waiters.index(call), id) then
      audits.report(call, 'sorted_stranger', id or member, 'in the index by scope, and not in line', sort_out,
        {member = member})
    end
  end
end

-- `options`: the pool's.
function line_audit.walk(call, options)
  local ids = redis.call('ZRANGE', waiters.index(call), 0, limits.AUDIT_WAITERS_MAX - 1, 'WITHSCORES')
  local looked, known = 0, {}
  for i = 1, #ids, 2 do
    if looked < limits.AUDIT_WAITERS_MAX then looked = looked + inspect(call, ids[i], tonumber(ids[i + 1])) end
  end
  if call.audit.by_scope or string.find(options or '', 'weights=', 1, true) then inspect_index(call) end
  if ids[1] and not string.find(options or '', 'waits=1', 1, true) then
    audits.report(call, 'unknown_line', 'pool', 'somebody waits, and the pool does not know', mark, {})
  end
  for _, name in ipairs(redis.call('ZRANGE', waiters.gangs(call), 0, limits.AUDIT_WAITERS_MAX - 1)) do
    inspect_membership(call, name, known)
  end
end

return line_audit
