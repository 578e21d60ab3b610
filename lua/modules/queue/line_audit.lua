-- line_audit: compares the line with its entries and with the live records; the first AUDIT_WAITERS_MAX of it.
local audits = require('audits')
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

local function inspect(call, id, place)
  local waiter = waiters.read(call, id, place)
  local target = waiter or {id = id, key = waiters.key(call, id), place = place}
  if not waiter then
    audits.report(call, 'missing_waiter', id, 'in line, and not there', remove, target)
  elseif waiter.broken then
    audits.report(call, 'broken_waiter', id, waiter.broken, remove, target)
  elseif records.at_id(call, id) then
    audits.report(call, 'live_waiter', id, 'it waits, and is live', remove, target)
  elseif place < waiters.place(waiter.priority, 0) or place > waiters.last_place(waiter.priority) then
    audits.report(call, 'wrong_place', id, 'its priority says otherwise', remove, target)
  end
end

-- `options`: the pool's.
function line_audit.walk(call, options)
  local ids = redis.call('ZRANGE', waiters.index(call), 0, limits.AUDIT_WAITERS_MAX - 1, 'WITHSCORES')
  for i = 1, #ids, 2 do inspect(call, ids[i], tonumber(ids[i + 1])) end
  if ids[1] and not string.find(options or '', 'waits=1', 1, true) then
    audits.report(call, 'unknown_line', 'pool', 'somebody waits, and the pool does not know', mark, {})
  end
end

return line_audit
