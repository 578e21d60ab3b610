-- line_audit: compares the line with its entries and with the live records, and its index by scope with both; the first
-- AUDIT_WAITERS_MAX of each.
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

local function sort_in(call, waiter)
  local members = line_entries.open(call).members
  members[#members + 1] = waiter
end

local function sort_out(call, target)
  local strays = line_entries.open(call).strays
  strays[#strays + 1] = target.member
end

local function inspect(call, id, place)
  local waiter = waiters.read(call, id, place)
  call.audit.by_scope = call.audit.by_scope or waiter and waiter.number
  local target = waiter or {id = id, key = waiters.key(call, id), place = place}
  if not waiter then
    audits.report(call, 'missing_waiter', id, 'in line, and not there', remove, target)
  elseif waiter.broken then
    audits.report(call, 'broken_waiter', id, waiter.broken, remove, target)
  elseif records.at_id(call, id) then
    audits.report(call, 'live_waiter', id, 'it waits, and is live', remove, target)
  elseif place < waiters.place(waiter.priority, 0) or place > waiters.last_place(waiter.priority) then
    audits.report(call, 'wrong_place', id, 'its priority says otherwise', remove, target)
  elseif waiter.number and not redis.call('ZSCORE', fair_order.index(call), fair_order.member(waiter)) then
    audits.report(call, 'unsorted_waiter', id, 'not in the index by scope', sort_in, waiter)
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
  for i = 1, #ids, 2 do inspect(call, ids[i], tonumber(ids[i + 1])) end
  if call.audit.by_scope or string.find(options or '', 'weights=', 1, true) then inspect_index(call) end
  if ids[1] and not string.find(options or '', 'waits=1', 1, true) then
    audits.report(call, 'unknown_line', 'pool', 'somebody waits, and the pool does not know', mark, {})
  end
end

return line_audit
