-- preemption: a waiting request may take room from live allocations of strictly lower priority.
-- Its victims are told, and keep their charge for the pool's grace, as in `begin_release`; what they leave is the
-- waiter's, as its place in line says.  Those of scopes that borrow are taken first, then the lowest priority, then the
-- newest.  Each must help, as few as are enough are taken, and none that began less than the pool's protected time ago.
-- As a victim's priority is strictly lower, no two requests can preempt each other in turn.
-- A pool that permits it (`preempts`) has the index `<base>priorities`: by priority, then the newest first.
local accounts = require('accounts')
local contention = require('contention')
local events = require('events')
local limits = require('limits')
local numbers = require('numbers')
local pools = require('pools')
local quotas = require('quotas')
local records = require('records')
local removals = require('removals')

local preemption = {}

-- Milliseconds within one priority: until the year 2109.
local INSTANTS = 4398046511104

function preemption.index(call)
  return string.sub(call.key, 1, -5) .. 'priorities'
end

-- The score of a record in the index.
function preemption.score(record)
  return ((record.priority or 0) + limits.PRIORITY_MAX + 1) * INSTANTS - 1 - record.granted_ms
end

-- The accounts that a record is charged to.
local function charged_of(call, record)
  accounts.read(call.pool, record.list)
  return record.accounts and accounts.charged(call, record.accounts, record.list) or {call.pool}
end

local function shift(call, record, sign)
  accounts.add_all(charged_of(call, record), record.list, sign)
end

-- How much the request is short of, over all its counters.
local function shortage(charged, list)
  local levels, sum = charged.levels or 0, 0
  for i = 1, levels > 0 and #list + 2 or #list, 2 do
    local field, amount = list[i] or quotas.ALLOCATIONS, (list[i + 1] or quotas.ONE) + 0
    if levels > 0 then sum = sum + math.max(0, amount - quotas.available(charged, field)) end
    for n = levels + 1, levels > 0 and #charged - 1 or #charged do
      local account = charged[n]
      local over = (account.allocated[field] or 0) + amount - (account.capacity[field] or limits.AMOUNT_MAX)
      sum = sum + math.max(0, over)
    end
  end
  return sum
end

-- Whether the counter is marked at an account of the record.
local function is_marked(record, field, marks)
  if marks[' ' .. field] then return true end
  for n = 1, record.accounts and #record.accounts or 0 do
    if marks[record.accounts[n] .. ' ' .. field] then return true end
  end
  return false
end

-- Whether a scope of the record has more than its share of something that the request is short of.
local function borrows(call, record, marks)
  for n = 1, record.accounts and #record.accounts or 0 do
    local account = quotas.is_one(record.accounts[n]) and accounts.named(call, record.accounts[n], record.list)
    for i = 1, account and #record.list or 0, 2 do
      local field = record.list[i]
      local share = account.nominal[field]
      local used = account.allocated[field] + account.kept[field]
      if share and used > share and is_marked(record, field, marks) then return true end
    end
  end
  return false
end

-- Whether the record is charged to a counter that is marked.
local function is_useful(record, marks)
  for i = 1, #record.list, 2 do
    if is_marked(record, record.list[i], marks) then return true end
  end
  return is_marked(record, quotas.ALLOCATIONS, marks)
end

-- The record of an id of the index, if it may be a victim.
local function candidate(call, id, marks, taken)
  local key = records.key(call, id)
  if taken[id] or call.records[key] == false then return nil end
  local record = call.records[key] or records.at_id(call, id)
  if not record or record.broken or record.fresh or record.gone or record.releasing_ms then return nil end
  local protected_ms = call.pool.preempt_protect_ms or 0
  if record.granted_ms + protected_ms > call.now or not is_useful(record, marks) then return nil end
  return record
end

-- What may be taken by a request of this priority, in the order of the index, so lowest and newest first.
local function candidates_of(call, priority, marks, taken)
  local below = '(' .. numbers.text((priority + limits.PRIORITY_MAX) * INSTANTS)
  local index, found = preemption.index(call), {}
  local ids = redis.call('ZRANGEBYSCORE', index, '-inf', below, 'LIMIT', '0', limits.PREEMPT_LOOKED_MAX)
  for i = 1, #ids do
    if #found == limits.PREEMPT_CANDIDATES_MAX then break end
    local record = candidate(call, ids[i], marks, taken)
    if record then found[#found + 1] = record end
  end
  return found
end

-- Takes the next victim out of the candidates: the first that borrows, else the first, that helps.
local function take_next(call, found, charged, list, marks)
  for pass = 1, 2 do
    for i = 1, #found do
      local record = found[i]
      if pass == 2 or borrows(call, record, marks) then
        local before = shortage(charged, list)
        shift(call, record, -1)
        if shortage(charged, list) < before then return table.remove(found, i) end
        shift(call, record, 1)
      end
    end
  end
  return nil
end

-- Gives back those without whom it fits, too; the last chosen first, as it is the most worth keeping.
local function spare(call, chosen, charged, list)
  for i = #chosen, 1, -1 do
    shift(call, chosen[i], 1)
    if shortage(charged, list) > 0 then shift(call, chosen[i], -1) else table.remove(chosen, i) end
  end
end

-- Those of a waiter's victims that still have their charge.
local function pending_of(call, victims)
  local pending, taken = {}, {}
  for fence, id in string.gmatch(victims or '', '(%d+):(%S+)') do
    local key = records.key(call, id)
    local record = call.records[key]
    if record == nil then record = records.at_id(call, id) end
    if record and not record.broken and record.releasing_ms and record.fence == fence + 0 then
      pending[#pending + 1], taken[id] = record, true
    end
  end
  return pending, taken
end

-- The allocations that a request would take now: a list of records; empty if nothing is to be taken, or if all of them
-- would not be enough.  `victims`: those that it has taken already.  The counters are as before.
function preemption.victims(call, charged, list, priority, victims)
  local pending, taken = pending_of(call, victims)
  for i = 1, #pending do shift(call, pending[i], -1) end
  local chosen, marks = {}, {}
  contention.add(marks, charged, list)
  local found = shortage(charged, list) > 0 and candidates_of(call, priority, marks, taken) or {}
  while #chosen < limits.PREEMPT_VICTIMS_MAX and shortage(charged, list) > 0 do
    local record = take_next(call, found, charged, list, marks)
    if not record then break end
    chosen[#chosen + 1] = record
  end
  if shortage(charged, list) > 0 then
    for i = 1, #chosen do shift(call, chosen[i], 1) end
    chosen = {}
  else
    spare(call, chosen, charged, list)
    for i = 1, #chosen do shift(call, chosen[i], 1) end
  end
  for i = 1, #pending do shift(call, pending[i], 1) end
  return chosen
end

-- Ends an allocation for a waiter: at once without a grace, else as its own release would begin.
local function preempt(call, record, waiter)
  local grace_ms = call.pool.preempt_grace_ms or limits.PREEMPT_GRACE_MS
  local known = call.records[record.key]
  if known == nil then call.records[record.key] = record end
  if grace_ms == 0 then
    removals.plan(call, record, 'preempted', 'by ' .. waiter.id)
    return
  end
  records.edit(call, record)
  local deadline_ms = records.cut(call.now + grace_ms, record.ends_ms)
  record.releasing_ms, record.ttl_ms, record.deadline_ms = call.now, grace_ms, deadline_ms
  record.asserted_ms, record.gap_ms, record.ttls, record.told = nil, nil, nil, nil
  record.preempted_by = waiter.id
  if deadline_ms < call.now + grace_ms then record.asserted_ms = call.now end
  pools.next_revision(call)
  events.add(call, 'preempted', record.id, record, 'by ' .. waiter.id)
end

-- Preempts for a waiter that is short.
function preemption.run(call, waiter, charged)
  local chosen = preemption.victims(call, charged, waiter.list, waiter.priority, waiter.victims)
  if not chosen[1] then return end
  local names = {}
  for _, record in ipairs(chosen) do
    names[#names + 1] = numbers.text(record.fence) .. ':' .. record.id
    preempt(call, record, waiter)
  end
  -- Those of before are over, or were not enough: they are named as long as they have their charge.
  local pending = pending_of(call, waiter.victims)
  for _, record in ipairs(pending) do names[#names + 1] = numbers.text(record.fence) .. ':' .. record.id end
  waiter.victims, waiter.victims_changed = table.concat(names, ' '), true
end

return preemption
