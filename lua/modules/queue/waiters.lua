-- waiters: converts the entry of a request that waits in line, a hash, to and from a table
-- {id, key, place, call, owner, priority, since_ms, heard_ms, until_ms, ask_ms, lifetime_ms, scope, accounts,
--  list, meta, preempt, victims, number, share_of, members, broken}; `victims` as `<fence>:<id>`, with spaces between
-- them.
-- `list` has the fields of a record and amounts, alternating; `accounts` the accounts beyond the pool.  An entry is
-- `<base>waiter:<id>`; its place is its score in `<base>waiting`: the higher priority first, then the earlier arrival.
-- A gang is one entry, with the id and the call of its first member, and the fields of each as `member.<n>.<field>`.
-- `members` = {{n, id, key, call, owner, priority, ask_ms, lifetime_ms, scope, accounts, list, meta, live}, ...}; a
-- member that was live when its client last asked is in the field `live`, and waits for nothing.
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

-- The key of the index of the members of gangs: `<id> <id of the first member>`, of each but the first.
function waiters.gangs(call)
  return string.sub(call.key, 1, -5) .. 'gangs'
end

-- A member's entry in it.
function waiters.membership(member, gang)
  return member.id .. ' ' .. gang.id
end

-- Of the entries of that index those that come, as scores and names, or those that leave, as names.
function waiters.changed_members(memberships, coming)
  local found = {}
  for name, is_there in pairs(memberships) do
    if is_there == coming then
      if coming then found[#found + 1] = '0' end
      found[#found + 1] = name
    end
  end
  return found
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

-- A request's entry, or that of one member of a gang.
function waiters.new(call, request, place)
  local argv, meta = call.argv, {}
  for at = request.meta_first, request.last do meta[#meta + 1] = argv[at] end
  local id = string.sub(request.key, #call.key + 8)
  return {
    id = id, key = waiters.key(call, id), place = place, call = request.call, owner = request.owner,
    priority = request.priority or 0, since_ms = call.now, heard_ms = call.now,
    until_ms = request.wait_ms and call.now + request.wait_ms, ask_ms = request.ask_ms,
    lifetime_ms = request.lifetime_ms, scope = request.scope, accounts = request.accounts, list = request.list,
    meta = meta, preempt = request.preempt and '1' or nil,
  }
end

local function add(flat, name, value)
  if value then flat[#flat + 1], flat[#flat + 2] = name, value end
end

-- Adds what one allocation is to have.
local function add_wanted(flat, prefix, one)
  add(flat, prefix .. 'ttl_ms', one.ask_ms)
  add(flat, prefix .. 'lifetime_ms', one.lifetime_ms)
  add(flat, prefix .. 'scope', one.scope)
  for i, name in ipairs(one.accounts or {}) do add(flat, prefix .. 'account.' .. i, name) end
  for i = 1, #one.list, 2 do
    add(flat, prefix .. 'requested.' .. string.sub(one.list[i], 1, -11), one.list[i + 1])
  end
  for i = 1, #one.meta, 2 do add(flat, prefix .. one.meta[i], one.meta[i + 1]) end
end

-- The members of a gang that were live when its client last asked, as they are stored.
function waiters.live(waiter)
  local ids = {}
  for _, member in ipairs(waiter.members) do ids[#ids + 1] = member.live and member.id or nil end
  return table.concat(ids, ' ')
end

-- The fields that change as its client asks again.
function waiters.heard(waiter)
  local flat = {}
  add(flat, 'heard_ms', waiter.heard_ms)
  add(flat, 'until_ms', waiter.until_ms)
  if waiter.victims_changed then add(flat, 'victims', waiter.victims or '') end
  if waiter.members then add(flat, 'live', waiters.live(waiter)) end
  if waiter.changed then
    add(flat, 'number', waiter.number)
    add(flat, 'share_of', waiter.share_of or '')
  end
  return flat
end

-- The entry as it is stored.
function waiters.flat(waiter)
  local flat = {
    'owner', waiter.owner, 'call', waiter.call, 'priority', waiter.priority, 'since_ms', waiter.since_ms,
    'heard_ms', waiter.heard_ms, 'until_ms', waiter.until_ms,
  }
  add(flat, 'preempt', waiter.preempt and '1')
  add(flat, 'victims', waiter.victims)
  add(flat, 'number', waiter.number)
  add(flat, 'share_of', waiter.share_of)
  if not waiter.members then
    add_wanted(flat, '', waiter)
    return flat
  end
  add(flat, 'gang', #waiter.members)
  add(flat, 'live', waiters.live(waiter))
  for n, member in ipairs(waiter.members) do
    local prefix = 'member.' .. n .. '.'
    add(flat, prefix .. 'id', member.id)
    add(flat, prefix .. 'call', member.call)
    add(flat, prefix .. 'owner', member.owner)
    add_wanted(flat, prefix, member)
  end
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

-- Takes a field of a member of a gang; false if it is none.
local function take_member(waiter, field, value)
  local n, rest = string.match(field, '^member%.(%d+)%.(.+)$')
  if not n then return false end
  local members = waiter.members or {}
  local member = members[n + 0] or {n = n + 0, list = {}, meta = {}}
  members[n + 0], waiter.members = member, members
  take(member, rest, value)
  return true
end

-- What is wrong with the members of a gang; else each is made complete.
local function find_fault_of_gang(call, waiter)
  local count, members, live = tonumber(waiter.gang), waiter.members or {}, ' ' .. (waiter.live or '') .. ' '
  if not count or count < 1 or count > limits.GANG_MAX then return 'gang is no number of members' end
  for n = 1, count do
    local member = members[n]
    if not member or not member.id or not member.owner or not member.call or not member.list[1]
      or not numbers.exact(member.ask_ms or '') or member.broken then
      return 'id, owner, call, ttl_ms or amounts of member ' .. n .. ' are missing'
    end
    member.key, member.priority = string.sub(call.key, 1, -5) .. 'allocation:' .. member.id, waiter.priority
    member.live = string.find(live, ' ' .. member.id .. ' ', 1, true) ~= nil
  end
  if members[count + 1] or members[1].id ~= waiter.id then return 'its members are not those of its gang' end
  return waiter.broken
end

local function find_fault(call, waiter)
  local is_gang = waiter.gang or waiter.members
  if not waiter.owner or not waiter.call or not is_gang and not waiter.list[1] then
    return 'owner, call or amounts are missing'
  end
  if not is_gang and not numbers.exact(waiter.ask_ms or '')
    or not (waiter.since_ms and waiter.heard_ms and waiter.priority) then
    return 'ttl_ms, since_ms, heard_ms or priority is no number'
  end
  return is_gang and find_fault_of_gang(call, waiter) or waiter.broken
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
  for i = 1, #flat, 2 do
    if not take_member(waiter, flat[i], flat[i + 1]) then take(waiter, flat[i], flat[i + 1]) end
  end
  if waiter.victims == '' then waiter.victims = nil end
  if waiter.share_of == '' then waiter.share_of = nil end
  waiter.broken = find_fault(call, waiter)
  return waiter
end

-- What the waiters that ask for the same have in common; MIXED if it is too long to be kept.
function waiters.shape(waiter)
  if waiter.members then return waiters.MIXED end
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

-- Of how many requests it consists.
function waiters.size(waiter)
  return waiter.members and #waiter.members or 1
end

-- The member of that id; nil if there is none.
function waiters.member(waiter, id)
  for _, member in ipairs(waiter.members or {}) do
    if member.id == id then return member end
  end
  return nil
end

return waiters
