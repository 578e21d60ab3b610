-- waiters: converts the entry of a request that waits in line, a hash, to and from a table
-- {id, key, place, call, owner, priority, since_ms, heard_ms, until_ms, ask_ms, lifetime_ms, scope, accounts,
--  list, meta, preempt, victims, number, share_of, broken}; `victims` as `<fence>:<id>`, with spaces between them.
-- `list` has the fields of a record and amounts, alternating; `accounts` the accounts beyond the pool.  An entry is
-- `<base>waiter:<id>`; its place is its score in `<base>waiting`: the higher priority first, then the earlier arrival.
local limits = require('limits')
local numbers = require('numbers')

local waiters = {}

-- Numbers of arrivals for each priority; the least priority times it stays below 2^53.
local ARRIVALS = 4398046511104

-- Characters of a shape that the pool keeps, as each call reads it while somebody waits.
local SHAPE_LENGTH_MAX = 512

-- The shape of a line whose requests differ.
waiters.MIXED = '*'

function waiters.key(call, id)
  return string.sub(call.key, 1, -5) .. 'waiter:' .. id
end

-- The key of the line.
function waiters.index(call)
  return string.sub(call.key, 1, -5) .. 'waiting'
end

-- The place of the arrival of that number.
function waiters.place(priority, number)
  return (limits.PRIORITY_MAX - priority) * ARRIVALS + number
end

-- The place behind all that arrived with this priority or a higher one.
function waiters.last_place(priority)
  return (limits.PRIORITY_MAX - priority + 1) * ARRIVALS - 1
end

-- A request's entry.
function waiters.new(call, request, place)
  local argv, meta = call.argv, {}
  for at = request.meta_first, request.last do meta[#meta + 1] = argv[at] end
  local id = string.sub(request.key, #call.key + 8)
  return {
    id = id, key = waiters.key(call, id), place = place, call = request.call, owner = request.owner,
    priority = request.priority or 0, since_ms = call.now, heard_ms = call.now, until_ms = call.now + request.wait_ms,
    ask_ms = request.ask_ms, lifetime_ms = request.lifetime_ms, scope = request.scope, accounts = request.accounts,
    list = request.list, meta = meta, preempt = request.preempt and '1' or nil,
  }
end

-- The entry as it is stored.
function waiters.flat(waiter)
  local flat = {
    'owner', waiter.owner, 'call', waiter.call, 'priority', waiter.priority, 'since_ms', waiter.since_ms,
    'heard_ms', waiter.heard_ms, 'until_ms', waiter.until_ms, 'ttl_ms', waiter.ask_ms,
  }
  if waiter.lifetime_ms then flat[#flat + 1], flat[#flat + 2] = 'lifetime_ms', waiter.lifetime_ms end
  if waiter.scope then flat[#flat + 1], flat[#flat + 2] = 'scope', waiter.scope end
  if waiter.preempt then flat[#flat + 1], flat[#flat + 2] = 'preempt', '1' end
  if waiter.victims then flat[#flat + 1], flat[#flat + 2] = 'victims', waiter.victims end
  if waiter.number then flat[#flat + 1], flat[#flat + 2] = 'number', waiter.number end
  if waiter.share_of then flat[#flat + 1], flat[#flat + 2] = 'share_of', waiter.share_of end
  for i, name in ipairs(waiter.accounts or {}) do flat[#flat + 1], flat[#flat + 2] = 'account.' .. i, name end
  for i = 1, #waiter.list, 2 do
    flat[#flat + 1], flat[#flat + 2] = 'requested.' .. string.sub(waiter.list[i], 1, -11), waiter.list[i + 1]
  end
  for i = 1, #waiter.meta do flat[#flat + 1] = waiter.meta[i] end
  return flat
end

-- The stored fields of an entry that the one in its place does not have.
function waiters.stale(was, flat)
  local kept, stale = {}, {}
  for i = 1, #flat, 2 do kept[flat[i]] = true end
  for i = 1, was and was.stored and #was.stored or 0, 2 do
    if not kept[was.stored[i]] then stale[#stale + 1] = was.stored[i] end
  end
  return stale
end

local NUMBERS = {
  priority = true, since_ms = true, heard_ms = true, until_ms = true, lifetime_ms = true, number = true,
}

local function take(waiter, field, value)
  local resource = string.match(field, '^requested%.(.+)$')
  if string.sub(field, 1, 5) == 'meta.' then
    waiter.meta[#waiter.meta + 1], waiter.meta[#waiter.meta + 2] = field, value
  elseif resource then
    if not numbers.exact(value) then waiter.broken = field .. ' is no amount' end
    waiter.list[#waiter.list + 1], waiter.list[#waiter.list + 2] = resource .. '.allocated', value
  elseif string.sub(field, 1, 8) == 'account.' then
    waiter.accounts = waiter.accounts or {}
    waiter.accounts[tonumber(string.sub(field, 9)) or 0] = value
  elseif field == 'ttl_ms' then
    waiter.ask_ms = value
  elseif NUMBERS[field] then
    waiter[field] = tonumber(value)
  else
    waiter[field] = value
  end
end

local function find_fault(waiter)
  if not waiter.owner or not waiter.call or not waiter.list[1] then return 'owner, call or amounts are missing' end
  if not (numbers.exact(waiter.ask_ms or '') and waiter.since_ms and waiter.heard_ms and waiter.priority) then
    return 'ttl_ms, since_ms, heard_ms or priority is no number'
  end
  return waiter.broken
end

-- Reads the entry of an id; nil if there is none.  `broken` is the error of one that cannot be decoded.
function waiters.read(call, id, place)
  local key = waiters.key(call, id)
  local flat = redis.pcall('HGETALL', key)
  local waiter = {id = id, key = key, place = place, list = {}, meta = {}}
  if flat.err then
    -- tostring: in the in-process server the text of an error is not a string.
    if string.sub(tostring(flat.err), 1, 9) ~= 'WRONGTYPE' then error(flat) end
    waiter.broken = 'is no hash'
    return waiter
  end
  if not flat[1] then
    -- On the node to which its slot is migrating, a key that has not arrived looks absent: this raises TRYAGAIN there.
    if place then redis.call('EXISTS', call.key, key) end
    return nil
  end
  waiter.stored = flat
  for i = 1, #flat, 2 do take(waiter, flat[i], flat[i + 1]) end
  if waiter.victims == '' then waiter.victims = nil end
  if waiter.share_of == '' then waiter.share_of = nil end
  waiter.broken = find_fault(waiter)
  return waiter
end

-- What the waiters that ask for the same have in common; MIXED if it is too long to be kept.
function waiters.shape(waiter)
  local parts = {}
  for i, name in ipairs(waiter.accounts or {}) do parts[i] = name end
  for i = 1, #waiter.list, 2 do
    parts[#parts + 1] = waiter.list[i] .. '=' .. numbers.text(waiter.list[i + 1] + 0)
  end
  local shape = table.concat(parts, ' ')
  return #shape <= SHAPE_LENGTH_MAX and shape or waiters.MIXED
end

-- Whether its client has asked again lately.
function waiters.is_heard(call, waiter)
  return waiter.heard_ms + limits.WAITER_TTL_MS > call.now
end

return waiters
