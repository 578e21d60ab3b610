-- arrivals: a refused request takes its place in line, or its client asks again.
local events = require('events')
local limits = require('limits')
local line = require('line')
local numbers = require('numbers')
local preemption = require('preemption')
local waiters = require('waiters')

local arrivals = {}

-- The position of a place in the line, from 1 on.
local function position(call, state, place)
  local index, before = waiters.index(call), 0
  if state.stored > 0 then before = redis.call('ZCOUNT', index, '-inf', '(' .. numbers.text(place)) end
  for i = 1, #state.puts do
    if state.puts[i] and state.puts[i].place < place then before = before + 1 end
  end
  for i = 1, #state.seen do
    if state.seen[i].left and not state.seen[i].new and state.seen[i].place < place then before = before - 1 end
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

local function answer(call, state, waiter, refusal)
  return {'waiting', position(call, state, waiter.place), next_change(call), refusal}
end

-- A request that is short, and may, takes room from lower priorities.
local function preempt(call, request, charged, waiter, refusal)
  if request.preempt and call.pool.preempts and refusal[2] == 'capacity_exceeded' then
    preemption.run(call, waiter, charged)
  end
end

-- Puts a refused request into the line.
function arrivals.enter(call, request, charged, refusal)
  local state = line.open(call)
  if state.count >= state.length_max then return {'queue_full', state.length_max} end
  state.number = state.number + 1
  local waiter = waiters.new(call, request, waiters.place(request.priority or 0, state.number))
  local shape = waiters.shape(waiter)
  state.shape = (state.count == 0 or state.shape == shape) and shape or waiters.MIXED
  state.count, waiter.new = state.count + 1, #state.puts + 1
  state.puts[waiter.new], state.known[waiter.id] = waiter, waiter
  waiter.charged = charged
  events.add(call, 'waiting', waiter.id, nil, refusal[2])
  preempt(call, request, charged, waiter, refusal)
  return answer(call, state, waiter, refusal)
end

-- The client of a waiter asks again.
function arrivals.hear(call, request, charged, waiter, refusal)
  local state = call.line
  waiter.heard_ms, waiter.until_ms = call.now, call.now + request.wait_ms
  if not waiter.new then state.heard[#state.heard + 1] = waiter end
  preempt(call, request, charged, waiter, refusal)
  return answer(call, state, waiter, refusal)
end

return arrivals
