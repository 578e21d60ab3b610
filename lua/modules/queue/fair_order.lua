-- fair_order: the places in line where scopes have weights (`shares`).  Among equal priorities the first request of
-- each sharer stands by what it has used, over its weight; its others stand behind all of these, by arrival.  Whenever
-- one goes, the next of its sharer takes a place by what is used then, also in the walk that granted it.  So each grant
-- goes to who has used the least by then.  A place is exact as of the last grant or end of its sharer, and as of the
-- last time that its client has asked.
-- While nothing of a sharer is live, its place stays right: what decays by halves is compared by its logarithm plus the
-- time in half-lives, and that sum does not change.
-- A gang stands at the place of its first member's sharer.  As it is granted, the sharers of all members are placed
-- anew.
-- `<base>waiting_by_scope` has the members `<sharer> <priority> <number> <id>`, in the order of each sharer; `number`
-- is the number of the arrival, and a field of the entry.
local limits = require('limits')
local line_entries = require('line_entries')
local shares = require('shares')
local waiters = require('waiters')

local fair_order = {}

-- The parts of the places of one priority: below USED by arrival, the first of those who have used nothing, and whoever
-- arrived before there were weights; from USED on the first of the others; from LATER on those who are not the first.
local USED = 1099511627776
local LATER = 3298534883328
-- Steps of a place for a factor of two, and the instant from which on half-lives are counted: for 16 years of minutes.
local STEPS = 262144
local ORIGIN_MS = 1700000000000
-- Members that are read at a time, and the priorities of a sharer that are placed at a time.
local PAGE = 8
local PRIORITIES = 4

-- Added to a logarithm, so that none is negative.
local LEAST = 64

function fair_order.index(call)
  return string.sub(call.key, 1, -5) .. 'waiting_by_scope'
end

-- The members of one sharer and priority begin with this.
local function prefix(name, priority)
  return name .. ' ' .. string.format('%04.0f', limits.PRIORITY_MAX - priority) .. ' '
end

function fair_order.member(waiter)
  local number = string.format('%013.0f', waiter.number)
  return prefix(waiter.share_of or '', waiter.priority) .. number .. ' ' .. waiter.id
end

-- The place of the first request of a sharer.
local function first_place(call, priority, number, sharer)
  local load = call.pool.weights and shares.load(call, sharer) or 0
  if load == 0 then return waiters.place(priority, number) end
  local half_lives = (call.now - ORIGIN_MS) / shares.half_life_ms(call)
  local steps = math.floor((math.log(load) / math.log(2) + LEAST + half_lives) * STEPS)
  return waiters.place(priority, USED + math.max(0, math.min(steps, LATER - USED - 1)))
end

local function is_later(waiter)
  return waiter.place >= waiters.place(waiter.priority, LATER)
end

-- The waiter of a member of the index; nil if it has left.  A member that says what its entry does not is removed.
local function of_member(call, state, member)
  local number, id = string.match(member, ' (%d+) (%S+)$')
  local known = id and state.known[id]
  local place = known and known.place or id and tonumber(redis.call('ZSCORE', waiters.index(call), id) or nil)
  local waiter = place and line_entries.of_id(call, state, id, place)
  if waiter and (waiter.new or waiter.left) then return nil end
  if waiter and not waiter.broken and waiter.number == tonumber(number) and fair_order.member(waiter) == member then
    waiter.place = place
    return waiter
  end
  state.strays[#state.strays + 1] = member
  return nil
end

-- The first of the stored members between two texts that has not left.
local function stored_between(call, state, first, last)
  local index, from = fair_order.index(call), '[' .. first
  for _ = 1, state.stored > 0 and limits.SHARER_LOOKED_MAX / PAGE or 0 do
    local members = redis.call('ZRANGEBYLEX', index, from, '(' .. last, 'LIMIT', 0, PAGE)
    for i = 1, #members do
      local waiter = of_member(call, state, members[i])
      if waiter then return waiter, members[i] end
    end
    if #members < PAGE then return nil end
    from = '(' .. members[#members]
  end
  return nil
end

-- The same, also of those that came in this call.
local function first_between(call, state, first, last)
  local found, least = stored_between(call, state, first, last)
  for _, waiter in ipairs(state.puts) do
    local member = waiter and not waiter.left and waiter.number and fair_order.member(waiter)
    if member and member >= first and member < last and (not found or member < least) then
      found, least = waiter, member
    end
  end
  return found
end

-- The first waiter of a sharer and a priority; nil if it has none.
local function first_of(call, state, name, priority)
  local start = prefix(name, priority)
  -- '!' follows the space.
  return first_between(call, state, start, string.sub(start, 1, -2) .. '!')
end

-- The place of a request that is not in line, were it to come now; `names`: its accounts.  Second result: its sharer.
function fair_order.place(call, priority, names, number)
  local state, sharer = line_entries.open(call), shares.among(call, names)
  local first = state.count > 0 and first_of(call, state, sharer.name, priority)
  if first then return waiters.place(priority, LATER + number), sharer end
  return first_place(call, priority, number, sharer), sharer
end

-- The accounts of a waiter whose sharer decides its place.
local function accounts_of(waiter)
  return (waiter.members and waiter.members[1] or waiter).accounts
end

-- Places a waiter that comes.
function fair_order.enter(call, waiter)
  local place, sharer = fair_order.place(call, waiter.priority, accounts_of(waiter), waiter.number)
  waiter.place, waiter.share_of = place, sharer.name ~= '' and sharer.name or nil
end

-- Places the first waiter of a sharer anew, not before `floor`; one that stands before it stays there.
local function place_first(call, waiter, sharer, floor)
  if floor and waiter.place < floor then return end
  local place = first_place(call, waiter.priority, waiter.number, sharer)
  line_entries.move(call, waiter, math.max(place, floor or 0))
end

-- Places the first waiters of a sharer anew, one of each priority, among its members from `start` on.
local function place_firsts(call, name, start, floor)
  local state, sharer = line_entries.open(call), shares.of(call, name)
  for _ = 1, PRIORITIES do
    local waiter = first_between(call, state, start, name .. '!')
    if not waiter then break end
    place_first(call, waiter, sharer, floor)
    start = string.sub(prefix(name, waiter.priority), 1, -2) .. '!'
  end
end

-- The names of the sharers whose next ones are placed as a waiter goes: its own, if it was the first, and those of the
-- members of a gang.
local function names_of(call, gone)
  local names = {}
  if not is_later(gone) then names[gone.share_of or ''] = true end
  for _, member in ipairs(gone.members or {}) do
    local sharer = shares.among(call, member.accounts)
    if sharer.moved then names[sharer.name] = true end
  end
  return names
end

-- In a walk, after one has left: the next of its sharers are placed, none before who has just left.
function fair_order.advance(call)
  local state = call.line
  for _, gone in ipairs(state.leavers) do
    for name in pairs(names_of(call, gone)) do
      place_firsts(call, name, prefix(name, gone.priority), gone.place + 1)
    end
  end
  state.leavers = {}
end

-- After some have left the line, or have been charged: the first of their sharers are placed anew.
function fair_order.update(call)
  local state, names = call.line, {}
  for _, gone in ipairs(state and state.leavers or {}) do
    if not is_later(gone) then names[gone.share_of or ''] = true end
  end
  if state then state.leavers = {} end
  if call.pool.weights and (call.pool.waits or state and state.count > 0) then
    for name, sharer in pairs(call.sharers or {}) do
      if sharer.moved then names[name], sharer.moved = true, false end
    end
  end
  for name in pairs(names) do place_firsts(call, name, name .. ' ') end
end

-- The client of a waiter asks again: it is placed by what is used now, and by the weights that there are now.
function fair_order.hear(call, waiter)
  if waiter.new or not (call.pool.weights or waiter.number) then return end
  local state, priority = line_entries.open(call), waiter.priority
  local number = waiter.number or waiter.place - waiters.place(priority, 0)
  if not call.pool.weights then
    line_entries.move(call, waiter, waiters.place(priority, number))
    return
  end
  local sharer = shares.among(call, accounts_of(waiter))
  local name = sharer.name ~= '' and sharer.name or nil
  if not waiter.number or waiter.share_of ~= name then
    if waiter.number then state.strays[#state.strays + 1] = fair_order.member(waiter) end
    waiter.number, waiter.share_of, waiter.changed = number, name, true
    state.members[#state.members + 1] = waiter
  end
  local first = first_of(call, state, sharer.name, priority)
  if not first or first.number >= number then
    place_first(call, waiter, sharer, nil)
  else
    line_entries.move(call, waiter, waiters.place(priority, LATER + number))
  end
end

-- The members that come into the index, and those that leave it: two lists.
function fair_order.changes(line)
  local comes, goes = {}, {}
  for _, waiter in ipairs(line.members) do
    if not waiter.left then comes[#comes + 1], comes[#comes + 2] = '0', fair_order.member(waiter) end
  end
  for _, waiter in ipairs(line.puts) do
    if waiter and waiter.number then comes[#comes + 1], comes[#comes + 2] = '0', fair_order.member(waiter) end
    local was = waiter and waiter.instead_of
    if was and was.number then goes[#goes + 1] = fair_order.member(was) end
  end
  for _, waiter in ipairs(line.drops) do
    if waiter.number then goes[#goes + 1] = fair_order.member(waiter) end
  end
  for _, member in ipairs(line.strays) do goes[#goes + 1] = member end
  return comes, goes
end

return fair_order
