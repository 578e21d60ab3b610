-- parts: what is charged for a waiter, all or none: itself, or the members of its gang that are not live.
-- A part is {id, owner, call, ask_ms, lifetime_ms, scope, accounts, list, meta, priority, charged}: `charged` has its
-- accounts, the pool last.
local accounts = require('accounts')
local contention = require('contention')
local denials = require('denials')
local gangs = require('gangs')
local records = require('records')
local requests = require('requests')

local parts = {}

-- The parts of a waiter; `ended`: ids that count as live no more, or nil.
function parts.of(waiter, ended)
  if not waiter.members then return {waiter} end
  local some = {}
  for _, member in ipairs(waiter.members) do
    if not member.live or ended and ended[member.id] then some[#some + 1] = member end
  end
  return some
end

-- The live record of the id of a part, or nil.
local function record_of(call, one)
  local key = records.key(call, one.id)
  if call.records[key] == nil then call.records[key] = records.at_id(call, one.id) or false end
  return call.records[key] or nil
end

local function open_one(call, one)
  accounts.read(call.pool, one.list)
  one.charged = one.accounts and accounts.charged(call, one.accounts, one.list) or {call.pool}
  return not one.scope or call.accounts['quota:' .. one.scope]
end

-- A member that was live, and has ended since, waits with the others.
function parts.note_ended(call, waiter)
  for _, one in ipairs(waiter.members or {}) do one.live = one.live and record_of(call, one) ~= nil end
end

-- Reads the accounts that a waiter is charged to.  False if one of its scopes does not exist.
function parts.open(call, waiter)
  for _, one in ipairs(waiter.members or {waiter}) do
    local is_open = open_one(call, one)
    if not is_open then return false end
  end
  parts.note_ended(call, waiter)
  return true
end

-- Uncharges the first `count` of these parts.
local function uncharge(some, count)
  for n = count, 1, -1 do accounts.add_all(some[n].charged, some[n].list, -1) end
end

function parts.give_back(waiter)
  local some = parts.of(waiter)
  uncharge(some, #some)
end

-- Charges all of these parts, or none.  Returns whether they are charged, whether one of them competes for what is
-- marked, and how many it has looked at.
function parts.take_all(some, marks)
  local blocked = false
  for n, one in ipairs(some) do
    blocked = blocked or marks ~= nil and contention.has(marks, one.charged, one.list)
    if accounts.take(one.charged, one.list) then
      uncharge(some, n - 1)
      return false, blocked, n
    end
  end
  return true, blocked, #some
end

-- The same of all parts of a waiter.
function parts.take(waiter, marks)
  local taken, blocked = parts.take_all(parts.of(waiter), marks)
  return taken, blocked
end

-- Whether one of its parts competes for what is marked, room or not: each after those before it.
function parts.competes(marks, waiter)
  local some, found = parts.of(waiter), false
  for n, one in ipairs(some) do
    found = found or contention.has(marks, one.charged, one.list)
    if some[n + 1] then accounts.add_all(one.charged, one.list, 1) end
  end
  uncharge(some, #some - 1)
  return found
end

-- The hard end of a waiter that is granted now: the latest of its parts; nil if one of them has none.
function parts.ends(call, waiter)
  local last_ms
  for _, one in ipairs(parts.of(waiter)) do
    local ends_ms = records.end_of(call, one.lifetime_ms)
    if not ends_ms then return nil end
    last_ms = math.max(last_ms or 0, ends_ms)
  end
  return last_ms
end

-- Marks the counters that a waiter cannot have now: of a gang those of which its members together are short.
function parts.hold_back(marks, waiter, everything)
  local some, sums = parts.of(waiter), waiter.members and {}
  for n, one in ipairs(some) do
    contention.add(marks, one.charged, one.list, everything, sums)
    if some[n + 1] then accounts.add_all(one.charged, one.list, 1) end
  end
  uncharge(some, #some - 1)
end

-- The waiter is granted: those who wanted more of a counter than is left are short of it from here on.
function parts.taken(marks, waiter)
  for _, one in ipairs(parts.of(waiter)) do contention.taken(marks, one.charged, one.list) end
end

-- The refusal of a gang that can never fit, and the member with which it is too much; else nil.
local function find_never(gang, some)
  local sums, found, n = gangs.asked(gang.members, #gang.members), nil, nil
  for _, one in ipairs(some) do
    local reply = denials.reply(one.charged, one.list, nil, sums, true)
    if reply[2] ~= 'capacity_exceeded' then
      found, n = reply, one.n
      break
    end
  end
  for _, one in ipairs(found and some or {}) do
    local reply = denials.reply(one.charged, one.list, nil, gangs.asked(gang.members, one.n), true)
    if reply[2] ~= 'capacity_exceeded' then return reply, one.n end
  end
  return found, n
end

-- Why a gang is refused, and the member that is: that with which it can never fit, else the first that is short with
-- those before it.
local function refusal_of_gang(gang)
  local some = parts.of(gang)
  local never, at = find_never(gang, some)
  if never then return never, at end
  for n, one in ipairs(some) do
    if accounts.take(one.charged, one.list) then
      local reply = denials.reply(one.charged, one.list)
      uncharge(some, n - 1)
      return reply, one.n
    end
  end
  uncharge(some, #some)
  local first = some[1] or gang.members[1]
  return denials.queued(first.charged, first.list), first.n
end

-- Why a waiter is refused now; second result: the member that is.
function parts.refusal(waiter)
  if waiter.members then
    local reply, n = refusal_of_gang(waiter)
    return reply, n
  end
  if accounts.take(waiter.charged, waiter.list) then return denials.reply(waiter.charged, waiter.list), 1 end
  accounts.add_all(waiter.charged, waiter.list, -1)
  return denials.queued(waiter.charged, waiter.list), 1
end

-- Whether a waiter that does not fit never will.
function parts.never_fits(waiter)
  local reply = parts.refusal(waiter)
  return reply[2] ~= 'capacity_exceeded' and reply[2] ~= 'queued'
end

-- Whether an id of a waiter is live: granted to others, or adopted.  A live member of a gang is what it asks for.
function parts.is_live(call, waiter)
  for _, one in ipairs(waiter.members or {waiter}) do
    local record = record_of(call, one)
    local is_had = record and one.live and not record.broken and not record.releasing_ms
    if record and not (is_had and requests.matches(one, record)) then return true end
  end
  return false
end

return parts
