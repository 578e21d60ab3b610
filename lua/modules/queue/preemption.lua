-- preemption: a waiting request may take room from live allocations of strictly lower priority.
-- Its victims are told, and keep their charge for the pool's grace, as in `begin_release`; what they leave is the
-- waiter's, as its place in line says.  Those of scopes that borrow are taken first, then the lowest priority, then the
-- newest.  None of them could be left out, and none began less than the pool's protected time ago.
-- Those before it in line go first: what they wait for counts as charged where their own victims leave it, and the
-- request takes nothing while one of them that it competes with is still short.
-- As a victim's priority is strictly lower, no two requests can preempt each other in turn.
local accounts = require('accounts')
local contention = require('contention')
local events = require('events')
local expiry = require('expiry')
local limits = require('limits')
local line = require('line')
local numbers = require('numbers')
local parts = require('parts')
local pools = require('pools')
local priorities = require('priorities')
local quotas = require('quotas')
local records = require('records')
local removals = require('removals')

local preemption = {}

-- Charges amounts in memory, `sign` times, and notes how to revert it.
local function shift(undo, charged, list, sign)
  accounts.add_all(charged, list, sign)
  undo[#undo + 1] = {charged, list, -sign}
end

-- Reverts the last charges, but the first `kept`.
local function revert(undo, kept)
  for i = #undo, kept + 1, -1 do
    accounts.add_all(undo[i][1], undo[i][2], undo[i][3])
    undo[i] = nil
  end
end

-- The room that an account has for a counter; nil if it does not limit it.  Second result: what of a growth its own
-- guarantee covers.
local function room_of(account, field)
  if not account.quota then
    local capacity = account.capacity[field]
    return capacity and capacity - (account.allocated[field] or 0), 0
  end
  return quotas.room(account, field)
end

-- How much the request is short of at each account that limits it, added up; 0: it fits.  `marks` gets the counters.
local function shortage(charged, list, marks)
  local levels, sum = charged.levels or 0, 0
  for i = 1, levels > 0 and #list + 2 or #list, 2 do
    local field, amount = list[i] or quotas.ALLOCATIONS, (list[i + 1] or quotas.ONE) + 0
    local growth = amount
    for n = 1, #charged do
      local room, covered = room_of(charged[n], field)
      growth = growth - covered
      -- The quotas of a scope and the pool above them are one rule.
      local over = room and ((n <= levels or n == #charged) and growth or amount) - room or 0
      if over > 0 then
        sum = sum + over
        if marks then marks[charged[n].name .. ' ' .. field] = true end
      end
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

-- Whether the record is charged to a counter that is marked.
local function is_useful(record, marks)
  for i = 1, #record.list, 2 do
    if is_marked(record, record.list[i], marks) then return true end
  end
  return is_marked(record, quotas.ALLOCATIONS, marks)
end

-- Whether a scope of the record has more than its share of something that the request is short of.
local function borrows(one, marks)
  local list = one.record.list
  for n = 1, one.charged.levels or 0 do
    local account = one.charged[n]
    for i = 1, #list, 2 do
      local share, used = quotas.share(account, list[i]), quotas.used(account, list[i])
      if share and used > share and is_marked(one.record, list[i], marks) then return true end
    end
  end
  return false
end

-- The accounts of a record, the pool last; nil if a counter is less than its amounts, or broken.
local function charged_of(call, record)
  if record.accounts then return accounts.covering(call, record) end
  return accounts.covers(call.pool, record.list) and {call.pool} or nil
end

-- The live record of an id, which this call has not granted.
local function live(call, id)
  local record = call.records[records.key(call, id)]
  if record == nil then record = records.at_id(call, id) end
  return record and not record.broken and not record.fresh and not record.gone and record or nil
end

-- {record, charged} of an id of the index, if it may be a victim.  A grant that its caller does not know of is none.
local function candidate(call, id, priority, marks)
  local record = live(call, id)
  if not record or record.releasing_ms or record.unclaimed_ttl_ms or (record.priority or 0) >= priority then
    return nil
  end
  local protected_ms = call.pool.preempt_protect_ms or 0
  if record.granted_ms + protected_ms > call.now or expiry.is_lapsed(call, record) then return nil end
  local charged = is_useful(record, marks) and charged_of(call, record)
  return charged and {record = record, charged = charged, taken = false} or nil
end

-- What may be taken by a request of this priority, in the order of the index.
local function candidates_of(call, priority, marks)
  local below, found, counters = '(' .. numbers.text(priorities.floor(priority)), {}, 0
  local index, most = priorities.index(call), limits.PREEMPT_LOOKED_MAX
  local ids = redis.call('ZRANGEBYSCORE', index, '-inf', below, 'LIMIT', '0', most)
  for i = 1, #ids do
    local one = candidate(call, ids[i], priority, marks)
    if one then counters = counters + #one.charged * (#one.record.list / 2 + 1) end
    if counters > limits.PREEMPT_COUNTERS_MAX then break end
    found[#found + 1] = one
    if #found == limits.PREEMPT_CANDIDATES_MAX then break end
  end
  return found
end

-- Takes victims until the request fits: those that borrow first, then the others; each must help.
local function take(found, charged, list, marks, undo)
  local chosen, left = {}, shortage(charged, list)
  for pass = 1, 2 do
    for i = 1, #found do
      local one = found[i]
      if left == 0 or #chosen == limits.PREEMPT_VICTIMS_MAX then break end
      if not one.taken and (pass == 2 or borrows(one, marks)) then
        shift(undo, one.charged, one.record.list, -1)
        local after = shortage(charged, list)
        if after < left then
          chosen[#chosen + 1], one.taken, left = one, true, after
        else
          revert(undo, #undo - 1)
        end
      end
    end
  end
  return left == 0 and chosen or {}
end

-- Gives back those without whom it fits, too; the last chosen first, as it is the most worth keeping.
local function spare(chosen, charged, list, undo)
  for i = #chosen, 1, -1 do
    shift(undo, chosen[i].charged, chosen[i].record.list, 1)
    if shortage(charged, list) > 0 then revert(undo, #undo - 1) else table.remove(chosen, i) end
  end
end

-- Those of a waiter's victims that still have their charge.
local function pending_of(call, victims)
  local pending = {}
  for fence, id in string.gmatch(victims or '', '(%d+):(%S+)') do
    local record = live(call, id)
    local charged = record and record.releasing_ms and record.fence == fence + 0 and charged_of(call, record)
    if charged then pending[#pending + 1] = {record = record, charged = charged} end
  end
  return pending
end

local function leave_out(call, victims, undo)
  for _, one in ipairs(pending_of(call, victims)) do shift(undo, one.charged, one.record.list, -1) end
end

-- Charges what those before a place in line wait for, where the room of their victims is enough.  Returns whether one
-- that is still short holds the request back.
local function charge_ahead(call, place, charged, list, undo)
  local ahead, more = line.ahead(call, place)
  if more then return true end
  local marks = {}
  for _, waiter in ipairs(ahead) do
    local before = #undo
    leave_out(call, waiter.victims, undo)
    if parts.take(waiter) then
      for _, one in ipairs(parts.of(waiter)) do undo[#undo + 1] = {one.charged, one.list, -1} end
    else
      revert(undo, before)
      line.hold_back(call, waiter, marks, waiter == ahead[1])
    end
  end
  return contention.has(marks, charged, list)
end

-- The allocations that a request at this place would take now: {record, charged} each; none if it needs none, or if all
-- of them would not be enough.  `victims`: those that it has taken before.  The counters are as before.
function preemption.victims(call, charged, list, priority, place, victims)
  local undo, chosen, marks = {}, {}, {}
  local blocked = charge_ahead(call, place, charged, list, undo)
  if not blocked then
    leave_out(call, victims, undo)
    local short = shortage(charged, list, marks) > 0
    local found = short and candidates_of(call, priority, marks) or {}
    chosen = take(found, charged, list, marks, undo)
    spare(chosen, charged, list, undo)
  end
  revert(undo, 0)
  return chosen
end

-- Ends an allocation for a waiter: at once without a grace, else as its own release would begin.
local function preempt(call, record, waiter)
  local grace_ms = call.pool.preempt_grace_ms or limits.PREEMPT_GRACE_MS
  if call.records[record.key] == nil then call.records[record.key] = record end
  if grace_ms == 0 then
    removals.try(call, record, 'preempted', 'at once, by ' .. waiter.id)
    return
  end
  records.edit(call, record)
  local deadline_ms = records.cut(call.now + grace_ms, record.ends_ms)
  record.releasing_ms, record.ttl_ms, record.deadline_ms = call.now, grace_ms, deadline_ms
  record.asserted_ms, record.gap_ms, record.ttls, record.told = nil, nil, nil, nil
  record.preempted_by = waiter.id
  -- Of a deadline that is cut this instant does not follow.
  if deadline_ms < call.now + grace_ms then record.asserted_ms = call.now end
  pools.next_revision(call)
  events.add(call, 'preempted', record.id, record, 'by ' .. waiter.id)
end

-- Preempts for a waiter that is short.  Returns whether that has freed room.
function preemption.run(call, waiter, charged)
  local chosen = preemption.victims(call, charged, waiter.list, waiter.priority, waiter.place - 1, waiter.victims)
  local names = {}
  for _, one in ipairs(pending_of(call, waiter.victims)) do
    names[#names + 1] = numbers.text(one.record.fence) .. ':' .. one.record.id
  end
  for _, one in ipairs(chosen) do
    preempt(call, one.record, waiter)
    if not one.record.gone then names[#names + 1] = numbers.text(one.record.fence) .. ':' .. one.record.id end
  end
  local text = names[1] and table.concat(names, ' ')
  waiter.victims_changed = waiter.victims_changed or text ~= waiter.victims
  waiter.victims = text or nil
  return chosen[1] ~= nil and chosen[1].record.gone
end

return preemption
