-- line: the requests that wait for room, in order: the higher priority first, then the earlier arrival.
-- Whoever changes the pool grants to them first what they may have.  A grant from the line is the waiter's for
-- GRANT_CLAIM_MS; by then its client has asked again, with the same call, and has it (`repeats`), or it lapses.
-- A waiter is passed by one behind it as the pool's policy says:
--   contended     by those that do not compete for what it is short of
--   best_effort   by all that fit
--   strict        by nobody, but by what a guarantee covers that is not the waiter's
-- After `queue_passes_max` passes, or `queue_wait_max_ms`, nobody passes the first.  With `queue_backfill` those that
-- are sure to end before those before them could start are granted all the same (`backfill`), and count as no pass.
-- call.line = {count, seen, ids, at, ...}: one call looks at WAITERS_LOOKED_MAX requests from the first on, those of a
-- gang one by one.  Where the line is longer and its requests differ, the next calls look at the others, from
-- `waiting_cursor` on.
local backfill = require('backfill')
local contention = require('contention')
local events = require('events')
local fair_order = require('fair_order')
local limits = require('limits')
local line_entries = require('line_entries')
local numbers = require('numbers')
local parts = require('parts')
local records = require('records')
local shares = require('shares')
local waiters = require('waiters')

local line = {}

-- Whether nobody passes this waiter, which is the first.
local function is_kept_for(call, state, waiter)
  local passes = state.first == waiter.id and state.passes or 0
  if state.passed == waiter then passes = passes + state.passing end
  return passes >= state.passes_max or waiter.since_ms + state.wait_max_ms <= call.now
end

-- Adds what those behind this waiter, perhaps the first, may not have.
function line.hold_back(call, waiter, marks, is_first)
  local state = call.line
  local everything = state.policy == 'strict' or is_first and is_kept_for(call, state, waiter)
  -- What its victims leave is for it.
  if everything or waiter.victims or state.policy ~= 'best_effort' then
    parts.hold_back(marks, waiter, everything)
  end
end

-- Begins anew with what those before a place hold back.
local function clear_marks(state)
  state.has_first, state.leading = false, {}
end

-- Whether a waiter is held back by none before it, so that the room that it can start with is known (`backfill`).
local function leads(state, waiter, marks, is_first)
  if is_first or waiter.victims then return true end
  return state.policy ~= 'best_effort' and not parts.competes(marks, waiter)
end

local function add_marks(call, state, waiter, marks)
  local is_first = not state.has_first
  state.has_first = true
  if state.backfill and leads(state, waiter, marks, is_first) then state.leading[#state.leading + 1] = waiter end
  line.hold_back(call, waiter, marks, is_first)
end

-- Counts that the first waiter was passed.
local function count_pass(state, waiter)
  if state.first ~= waiter.id then state.first, state.passes = waiter.id, 0 end
  state.passes = state.passes + 1
end

-- The grant of one part of a waiter, charged already, which is a record from here on.
local function grant(call, one, reason)
  local pool, ask_ms, names = call.pool, one.ask_ms + 0, {}
  local ends_ms = records.end_of(call, one.lifetime_ms)
  pool.revision = pool.revision + 1
  for n = 1, #one.charged - 1 do names[n] = one.charged[n].name end
  local record = {
    id = one.id, key = records.key(call, one.id), owner = one.owner, fence = numbers.text(pool.revision),
    call = one.call, granted_ms = call.now, ttl_ms = limits.GRANT_CLAIM_MS,
    deadline_ms = records.cut(call.now + limits.GRANT_CLAIM_MS, ends_ms), ends_ms = ends_ms,
    unclaimed_ttl_ms = ask_ms, priority = one.priority ~= 0 and one.priority or nil, list = one.list,
    meta = one.meta, accounts = names[1] and names or nil, fresh = true,
  }
  call.records[record.key], call.fresh = record, call.fresh or {}
  call.fresh[#call.fresh + 1] = record
  if call.pool.weights then shares.charge(call, record, names) end
  events.add(call, 'granted', one.id, record, reason)
end

-- Whether a waiter that is held back, and fits, is granted all the same.  It is not charged.
local function may_fill(call, state, waiter)
  if not state.backfill then return false end
  local ends_ms = parts.ends(call, waiter)
  local permitted = backfill.permits(call, state.leading, ends_ms)
  return permitted
end

-- Whether the waiter goes: 'granted', 'filled' as it ends before those before it could start, or 'left' as its wait is
-- in vain; false if it stays.
local function try(call, state, waiter, marks)
  local taken, blocked = parts.take(waiter, marks)
  if not taken then
    if not parts.never_fits(waiter) then return false end
    line_entries.leave(call, waiter, 'it can never fit')
    return 'left'
  end
  local filled = false
  if blocked then
    parts.give_back(waiter)
    filled = may_fill(call, state, waiter)
    if not filled then return false end
    parts.take(waiter)
  end
  if parts.is_live(call, waiter) then
    parts.give_back(waiter)
    line_entries.leave(call, waiter, 'its id is live')
    return 'left'
  end
  line_entries.remove(call, waiter)
  for _, one in ipairs(parts.of(waiter)) do grant(call, one, filled and 'backfilled' or 'waited') end
  if not filled then backfill.forget(call) end
  state.wakes[#state.wakes + 1] = waiter.call
  return filled and 'filled' or 'granted'
end

-- Grants to one waiter, or lets it go; false if it stays.
local function serve_one(call, state, waiter, marks)
  waiter.opened = parts.open(call, waiter)
  if waiters.is_heard(call, waiter) and waiter.opened then
    local gone = try(call, state, waiter, marks)
    return gone
  end
  line_entries.leave(call, waiter, waiter.opened and 'its client is silent' or 'its scope is unknown')
  return 'left'
end

-- Whether a waiter stands before a place.
local function is_before(call, waiter, place)
  if not waiter or waiter.left or place and waiter.place > place or not waiters.is_heard(call, waiter) then
    return false
  end
  if waiter.opened then
    parts.note_ended(call, waiter)
  else
    waiter.opened = parts.open(call, waiter)
  end
  return waiter.opened
end

-- What those who stay hold back, of the first `last`; `place`: only of those before it.  Second result: the first of
-- them.
local function marks_of(call, state, last, place)
  local marks, ahead = {}, nil
  clear_marks(state)
  for n = 1, last do
    local waiter = state.seen[n]
    if is_before(call, waiter, place) then
      ahead = ahead or waiter
      add_marks(call, state, waiter, marks)
    end
  end
  return marks, ahead
end

-- Whether nobody behind this waiter can go where it cannot: they ask for the same, or none may pass.
local function ends_here(call, state)
  return state.shape ~= waiters.MIXED or state.policy == 'strict' and not call.pool.keeps and not state.backfill
end

-- Whether a waiter stays as one before it that asks for the same was refused in this call: it has less room, and holds
-- back nothing else.  One that is silent leaves, what the victims of one leave is for it, and one that this call has
-- moved is compared with those behind the cursor.
local function is_refused(call, state, waiter)
  local shape = waiters.shape(waiter)
  if shape ~= waiters.MIXED then waiter.same = shape .. ' ' .. (waiter.lifetime_ms or '') end
  if waiter.was_place then return false end
  return state.refused[waiter.same] and waiters.is_heard(call, waiter) and not waiter.victims
end

local function note_refused(state, waiter)
  if waiter.same then state.refused[waiter.same] = true end
end

-- Serves the entries from the first on.  Returns what those who stay hold back, and the last that it has looked at.
local function serve_first(call, state)
  local marks, n, ahead = {}, 1, nil
  clear_marks(state)
  state.refused = {}
  while true do
    local waiter = state.seen[n] or line_entries.next(call, state)
    if not waiter then break end
    if not waiter.left and not is_refused(call, state, waiter) then
      local gone = serve_one(call, state, waiter, marks)
      local granted = gone and gone ~= 'left'
      if granted then
        state.served = state.served + waiters.size(waiter)
        line_entries.note_taken(state, waiter)
      end
      if gone and state.leavers[1] then fair_order.advance(call) end
      if not gone then
        ahead = ahead or waiter
        add_marks(call, state, waiter, marks)
        if waiter.was_place then line_entries.note_ahead(state, waiter) end
        note_refused(state, waiter)
        if ends_here(call, state) then
          state.cut = false
          break
        end
      elseif ahead and granted then
        if gone == 'granted' then count_pass(state, ahead) end
        marks = marks_of(call, state, n)
      end
    end
    -- By fair share each grant may bring one more before those that were read.
    state.cut = state.cut or state.served >= limits.WAITERS_LOOKED_MAX
    if state.served >= limits.WAITERS_LOOKED_MAX then break end
    n = n + 1
  end
  return marks, state.seen[math.min(n, #state.seen)]
end

-- The first of those who stay, or nil.
local function first_of(call, state)
  local n = 1
  local waiter = state.seen[n] or line_entries.next(call, state)
  while waiter and not is_before(call, waiter) do
    n = n + 1
    waiter = state.seen[n] or line_entries.next(call, state)
  end
  return waiter
end

-- Serves the entries after those that an earlier call has looked at.
local function serve_others(call, state)
  local marks, from = contention.parse(state.cursor_marks), '(' .. numbers.text(state.cursor)
  local first, looked = first_of(call, state), 0
  -- Who leads of those that this call does not look at is not known: nobody is backfilled.
  state.leading = nil
  local ids = redis.call('ZRANGEBYSCORE', waiters.index(call), from, '+inf', 'WITHSCORES', 'LIMIT', '0',
    limits.WAITERS_LOOKED_MAX)
  for i = 1, #ids, 2 do
    if looked >= limits.WAITERS_LOOKED_MAX then break end
    local waiter = line_entries.at_place(call, state, ids[i], tonumber(ids[i + 1]))
    state.cursor, looked = tonumber(ids[i + 1]), looked + waiters.size(waiter)
    if not waiter.left then
      if first and first ~= waiter and is_kept_for(call, state, first) then
        parts.hold_back(marks, first, true)
      end
      local gone = serve_one(call, state, waiter, marks)
      if gone == 'granted' then parts.taken(marks, waiter) end
      if gone and state.leavers[1] then fair_order.advance(call) end
      if gone == 'granted' and first and first ~= waiter then count_pass(state, first) end
      if not gone and state.policy ~= 'best_effort' then
        parts.hold_back(marks, waiter, state.policy == 'strict')
      end
    end
  end
  state.cursor_marks = contention.text(marks)
  local is_end = looked < limits.WAITERS_LOOKED_MAX and #ids < 2 * limits.WAITERS_LOOKED_MAX
  if is_end or not state.cursor_marks then state.cursor = nil end
end

-- Grants what may be granted.
function line.serve(call)
  local state = line_entries.open(call)
  fair_order.update(call)
  if state.count == 0 or call.pool.recovering or call.pool.state then return end
  state.looked_ms = call.now
  backfill.forget(call)
  local marks, last = serve_first(call, state)
  if state.cut and not state.cursor then
    state.cursor_marks = contention.text(marks)
    state.cursor = state.cursor_marks and last.place or nil
  end
end

-- Whether an earlier call has looked at the line lately: so lately that the whole of it is looked at once a heartbeat.
-- Whatever frees room serves the line itself; this is for what nobody's call has told.
local function is_fresh(call, state)
  local looks = math.max(1, state.count / limits.WAITERS_LOOKED_MAX)
  return state.looked_ms and not call.removed and call.now - state.looked_ms < limits.LOOK_AGAIN_MS / looks
end

-- Whether more stand before a place than one call looks at, so that the request must wait for them.
function line.is_long(call, place)
  local state = line_entries.open(call)
  if state.shape == waiters.MIXED and state.policy ~= 'best_effort' and state.stored > limits.WAITERS_LOOKED_MAX then
    local before = redis.call('ZCOUNT', waiters.index(call), '-inf', '(' .. numbers.text(place))
    return before > limits.WAITERS_LOOKED_MAX
  end
  return false
end

-- Grants what may be granted, once a call, before one of its items is decided.  `others`: it is not before those in
-- line, so it looks only now and then, and further where an earlier call has stopped.
function line.serve_once(call, others)
  local state = line_entries.open(call)
  if others and is_fresh(call, state) then return end
  local kind = others and state.cursor and 'others' or 'first'
  if state[kind .. '_served'] then return end
  state[kind .. '_served'] = true
  if kind == 'first' then
    line.serve(call)
  elseif not call.pool.recovering then
    state.looked_ms = call.now
    serve_others(call, state)
  end
end

-- Whether the request must wait for those before its place; second result: the first of them.  `is_growth`: it is the
-- growth of a live allocation.
function line.blocks(call, place, charged, list, is_growth)
  local state = line_entries.open(call)
  if state.count == 0 then return false, nil end
  local n, many = 1, false
  while true do
    local waiter = state.seen[n] or line_entries.next(call, state)
    if not waiter then
      many = state.cut
      break
    end
    if waiter.place > place or is_before(call, waiter) and ends_here(call, state) then break end
    n = n + 1
  end
  local marks, ahead = marks_of(call, state, #state.seen, place)
  -- Those that it has not looked at may compete, too.
  if many and state.policy ~= 'best_effort' then
    state.leading = nil
    return true, ahead
  end
  return contention.has(marks, charged, list, is_growth), ahead
end

-- Whether somebody waits who may count on the hard ends of what is live.
function line.counts_on_ends(call)
  local state = line_entries.open(call)
  return state.backfill and state.count > 0 and (first_of(call, state) ~= nil or state.cut)
end

-- Whether a request that fits, and that `line.blocks` holds back, is sure to end before those before it could start.
function line.fills(call, ends_ms)
  local permitted = backfill.permits(call, call.line.leading, ends_ms)
  return permitted
end

-- Those who wait before a place, in order.  Second result: whether there are more that hold others back.
function line.ahead(call, place)
  local state, ahead, n = line_entries.open(call), {}, 1
  local waiter = state.count > 0 and (state.seen[n] or line_entries.next(call, state))
  while waiter and waiter.place <= place do
    if is_before(call, waiter, place) then ahead[#ahead + 1] = waiter end
    n = n + 1
    waiter = state.seen[n] or line_entries.next(call, state)
  end
  return ahead, not waiter and state.cut and state.policy ~= 'best_effort'
end

-- A request is granted; `ahead`: the first waiter, which it passes, is counted when the call is finished; false: it
-- fills room until that one can start.
function line.pass(call, ahead, charged, list)
  local state = call.line
  if not state then return end
  line_entries.note_taken(state, {charged = charged, list = list})
  if ahead ~= false then backfill.forget(call) end
  if not ahead then return end
  if state.passed ~= ahead then state.passing, state.passed = 0, ahead end
  state.passing = state.passing + 1
end

-- Wakes the first waiter, whose client asks again: for changes of limits, which this call does not decide by.
function line.wake_first(call)
  if not call.pool.waits then return end
  local state, n = line_entries.open(call), 1
  local waiter = line_entries.next(call, state)
  while waiter and waiter.left do
    n = n + 1
    waiter = state.seen[n] or line_entries.next(call, state)
  end
  if waiter then state.wakes[#state.wakes + 1] = waiter.call end
  state.looked_ms = nil
  line_entries.keep(call, state)
end

-- Before a commit: grants what this call has freed, and plans what the line needs.
function line.finish(call)
  local pool = call.pool
  if call.refused or not pool.waits and not call.line then return end
  local state = call.line
  if state and state.passing > 0 and not state.passed.left then
    count_pass(state, state.passed)
    state.passes, state.passing = state.passes + state.passing - 1, 0
  end
  if call.removed or call.freed then line.serve(call) end
  state = call.line
  if not state and not call.sharers then return end
  fair_order.update(call)
  state = call.line
  if state then line_entries.keep(call, state) end
end

return line
