-- arrivals: a refused request takes its place in line, or its client asks again.
local backfill = require('backfill')
local events = require('events')
local fair_order = require('fair_order')
local idempotency = require('idempotency')
local limits = require('limits')
local line = require('line')
local line_entries = require('line_entries')
local numbers = require('numbers')
local preemption = require('preemption')
local waiters = require('waiters')

local arrivals = {}

-- The place in line before which others go before a request that comes now: the end, or, where scopes have weights,
-- where it would stand itself.
function arrivals.place(call, priority, names)
  if not call.pool.weights then return waiters.last_place(priority or 0) end
  local state = line_entries.open(call)
  return (fair_order.place(call, priority or 0, names, state.number + 1))
end

-- The same for a request that is charged to these accounts, the pool last.
function arrivals.place_among(call, priority, charged)
  local names = {}
  for n = 1, #charged - 1 do names[n] = charged[n].name end
  return arrivals.place(call, priority, names)
end

-- The position of a place in the line, from 1 on.
function arrivals.position(call, place)
  local state = line_entries.open(call)
  local index, before = waiters.index(call), 0
  if state.stored > 0 then before = redis.call('ZCOUNT', index, '-inf', '(' .. numbers.text(place)) end
  for i = 1, #state.puts do
    local waiter = state.puts[i]
    if waiter and waiter.place < place then before = before + 1 end
    local was = waiter and waiter.instead_of
    local stood = was and (was.was_place or was.place)
    if stood and stood < place then before = before - 1 end
  end
  for i = 1, #state.drops do
    local was = state.drops[i].was_place or state.drops[i].place
    if was and was < place then before = before - 1 end
  end
  for i = 1, #state.moves do
    local waiter = state.moves[i]
    if not waiter.left and waiter.place < place then before = before + 1 end
    if not waiter.left and waiter.was_place < place then before = before - 1 end
  end
  return before + 1
end

-- The milliseconds after which something may have changed: the next deadline, or the end of a recovery.
local function next_change(call)
  if call.pool.recovering then return call.pool.recovering - call.now end
  local after, index = '(' .. call.now_text, call.deadlines
  local found = redis.call('ZRANGEBYSCORE', index, after, '+inf', 'WITHSCORES', 'LIMIT', '0', '1')
  return found[2] and tonumber(found[2]) - call.now or limits.WAITER_TTL_MS
end

local function answer(call, waiter, refusal)
  local position = arrivals.position(call, waiter.place)
  return {'waiting', position, next_change(call), refusal}
end

-- A request that has no room, and may, takes it from lower priorities.  What has expired is reclaimed first.
local function preempt(call, request, charged, waiter, refusal)
  if not (request.preempt and call.pool.preempts) or refusal[1] ~= 'denied' or call.more_expired then return end
  backfill.forget(call)
  if preemption.run(call, waiter, charged) then line.serve(call) end
end

-- Puts a refused request into the line.  `members`: those of its gang, of which it is the first.
function arrivals.enter(call, request, charged, refusal, members)
  local state = line_entries.open(call)
  if state.count >= state.length_max then return {'queue_full', state.length_max} end
  state.number = state.number + 1
  local waiter = waiters.new(call, request, waiters.place(request.priority or 0, state.number))
  waiter.members = members
  local shape = waiters.shape(waiter)
  state.shape = (state.count == 0 or state.shape == shape) and shape or waiters.MIXED
  waiter.charged = charged
  if call.pool.weights then
    waiter.number = state.number
    fair_order.enter(call, waiter)
  end
  line_entries.add(call, waiter)
  events.add(call, 'waiting', waiter.id, nil, refusal[2])
  preempt(call, request, charged, waiter, refusal)
  return answer(call, waiter, refusal)
end

-- The client of a waiter asks again.
function arrivals.hear(call, request, charged, waiter, refusal)
  local state = call.line
  waiter.heard_ms, waiter.until_ms = call.now, call.now + request.wait_ms
  if not waiter.new then state.heard[#state.heard + 1] = waiter end
  fair_order.hear(call, waiter)
  preempt(call, request, charged, waiter, refusal)
  return answer(call, waiter, refusal)
end

-- The last try of a request that has waited: it leaves the line, so that no late copy of it is granted.
function arrivals.give_up(call, waiter, refusal)
  line_entries.leave(call, waiter, 'it has waited long enough')
  idempotency.complete_as(call, waiter.call, 'withdrawn')
  call.freed = true
  return refusal
end

return arrivals
