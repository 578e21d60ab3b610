-- line: the requests that wait for room, in order: the higher priority first, then the earlier arrival.
-- Whoever changes the pool grants to them first what they may have.  A grant from the line is the waiter's for
-- GRANT_CLAIM_MS; by then its client has asked again, with the same call, and has it (`repeats`), or it lapses.
-- A waiter is passed by one behind it as the pool's policy says:
--   contended     by those that do not compete for what it is short of
--   best_effort   by all that fit
--   strict        by nobody, but by what a guarantee covers that is not the waiter's
-- After `queue_passes_max` passes, or `queue_wait_max_ms`, nobody passes the first.
-- call.line = {count, seen, ids, at, ...}: one call looks at WAITERS_LOOKED_MAX entries from the first on.  Where the
-- line is longer and its requests differ, the next calls look at the others, from `waiting_cursor` on.
local accounts = require('accounts')
local contention = require('contention')
local denials = require('denials')
local events = require('events')
local limits = require('limits')
local numbers = require('numbers')
local pools = require('pools')
local records = require('records')
local waiters = require('waiters')

local line = {}

local FIELDS = {
  'waiting_number', 'waiting_shape', 'waiting_passes', 'waiting_first', 'waiting_cursor', 'waiting_marks',
}


-- Whether anybody waits.  The line's state, read once a call.
function line.open(call)
  local state = call.line
  if state then return state end
  local options = call.pool.options or ''
  state = {
    count = 0, stored = 0, seen = {}, at = 0, known = {}, puts = {}, heard = {}, drops = {}, gone = {}, wakes = {},
    was = {}, policy = string.match(options, 'queue_policy=(%S+)') or 'contended',
    passes_max = tonumber(string.match(options, 'queue_passes_max=(%d+)')) or limits.PASSES_MAX,
    wait_max_ms = tonumber(string.match(options, 'queue_wait_max_ms=(%d+)')) or limits.WAIT_PASSED_MAX_MS,
    length_max = tonumber(string.match(options, 'queue_length_max=(%d+)')) or limits.QUEUE_MAX,
    number = 0, passes = 0, passing = 0,
  }
  call.line = state
  if not call.pool.waits then return state end
  local found = redis.call('HMGET', call.key, unpack(FIELDS))
  state.was = found
  state.count = redis.call('ZCARD', waiters.index(call))
  state.stored, state.number, state.shape = state.count, tonumber(found[1]) or 0, found[2] or waiters.MIXED
  state.passes, state.first = tonumber(found[3]) or 0, found[4]
  state.cursor, state.cursor_marks = tonumber(found[5]), found[6] or ''
  return state
end

-- The accounts that a waiter is charged to; nil if its scope does not exist.
local function charged_of(call, waiter)
  local names = waiter.accounts
  accounts.read(call.pool, waiter.list)
  local charged = names and accounts.charged(call, names, waiter.list) or {call.pool}
  if waiter.scope and not call.accounts['quota:' .. waiter.scope] then return nil end
  return charged
end

-- Removes an entry.
local function remove(call, waiter)
  local state = call.line
  waiter.left, state.count = true, state.count - 1
  if waiter.new then
    state.puts[waiter.new] = false
    return
  end
  state.drops[#state.drops + 1], state.gone[#state.gone + 1] = waiter.key, waiter.id
end

-- Ends a wait that is not granted.
function line.leave(call, waiter, reason)
  remove(call, waiter)
  events.add(call, 'withdrawn', waiter.id, nil, reason)
end

-- The next entry from the first on; nil at the end, or if this call has looked at enough of them.
local function read_next(call, state)
  if not state.ids then
    state.ids = redis.call('ZRANGE', waiters.index(call), '0', limits.WAITERS_LOOKED_MAX, 'WITHSCORES')
  end
  local id, place = state.ids[state.at + 1], tonumber(state.ids[state.at + 2])
  if not id or state.at >= 2 * limits.WAITERS_LOOKED_MAX then
    state.cut = id ~= nil
    return nil
  end
  state.at = state.at + 2
  local waiter = line.of_id(call, id, place)
  state.seen[#state.seen + 1] = waiter
  return waiter
end

-- The entry of an id, read once; an index entry without one is removed.
function line.of_id(call, id, place)
  local state = line.open(call)
  local waiter = state.known[id]
  if waiter == nil then
    waiter = waiters.read(call, id, place)
    if not waiter and place then
      waiter = {id = id, key = waiters.key(call, id), place = place}
      remove(call, waiter)
    end
    state.known[id] = waiter or false
    if waiter and waiter.broken then line.leave(call, waiter, 'its entry ' .. waiter.broken) end
  end
  if waiter and place then waiter.place = place end
  return waiter or nil
end

-- The entry of the id with this record, or nil.
function line.at_record(call, key)
  local waiter = line.of_id(call, records.id(call, key), nil)
  if not waiter or waiter.left then return nil end
  waiter.place = waiter.place or tonumber(redis.call('ZSCORE', waiters.index(call), waiter.id) or nil)
  if waiter.place then return waiter end
  -- An entry that is not in line counts as none.
  call.line.drops[#call.line.drops + 1], waiter.left = waiter.key, true
  return nil
end

-- Whether nobody passes this waiter, which is the first.
local function is_kept_for(call, state, waiter)
  local passes = state.first == waiter.id and state.passes or 0
  return passes >= state.passes_max or waiter.since_ms + state.wait_max_ms <= call.now
end

-- Adds what those behind this waiter may not have.
local function hold_back(call, state, waiter, marks)
  local is_first = not state.has_first
  state.has_first = true
  local everything = state.policy == 'strict' or is_first and is_kept_for(call, state, waiter)
  -- What its victims leave is for it.
  if everything or waiter.victims or state.policy ~= 'best_effort' then
    contention.add(marks, waiter.charged, waiter.list, everything)
  end
end

-- Counts that the first waiter was passed.
local function count_pass(state, waiter)
  if state.first ~= waiter.id then state.first, state.passes = waiter.id, 0 end
  state.passes = state.passes + 1
end

-- The waiter's grant, charged already, which is a record from here on.
local function grant(call, state, waiter)
  local pool, ask_ms, names = call.pool, waiter.ask_ms + 0, {}
  local ends_ms = records.end_of(call, waiter.lifetime_ms)
  pool.revision = pool.revision + 1
  for n = 1, #waiter.charged - 1 do names[n] = waiter.charged[n].name end
  local record = {
    id = waiter.id, key = records.key(call, waiter.id), owner = waiter.owner, fence = numbers.text(pool.revision),
    call = waiter.call, granted_ms = call.now, ttl_ms = limits.GRANT_CLAIM_MS,
    deadline_ms = records.cut(call.now + limits.GRANT_CLAIM_MS, ends_ms), ends_ms = ends_ms,
    unclaimed_ttl_ms = ask_ms, priority = waiter.priority ~= 0 and waiter.priority or nil, list = waiter.list,
    meta = waiter.meta, accounts = names[1] and names or nil, fresh = true,
  }
  call.records[record.key], call.fresh = record, call.fresh or {}
  call.fresh[#call.fresh + 1] = record
  state.wakes[#state.wakes + 1] = waiter.call
  events.add(call, 'granted', waiter.id, record, 'waited')
end

-- The live record of a waiter's id: it was granted to others, or adopted.
local function is_known(call, waiter)
  local key = records.key(call, waiter.id)
  if call.records[key] == nil then call.records[key] = records.at_id(call, waiter.id) or false end
  return call.records[key]
end

-- Whether the waiter goes: 'granted', or 'left' as its wait is in vain; false if it stays.
local function try(call, state, waiter, marks)
  if contention.has(marks, waiter.charged, waiter.list) then return false end
  if accounts.take(waiter.charged, waiter.list) then
    if denials.reply(waiter.charged, waiter.list)[2] == 'capacity_exceeded' then return false end
    line.leave(call, waiter, 'it can never fit')
    return 'left'
  end
  if is_known(call, waiter) then
    accounts.add_all(waiter.charged, waiter.list, -1)
    line.leave(call, waiter, 'its id is live')
    return 'left'
  end
  remove(call, waiter)
  grant(call, state, waiter)
  return 'granted'
end

-- Grants to one waiter, or lets it go; false if it stays.
local function serve_one(call, state, waiter, marks)
  waiter.charged = charged_of(call, waiter)
  if waiters.is_heard(call, waiter) and waiter.charged then
    local gone = try(call, state, waiter, marks)
    return gone
  end
  line.leave(call, waiter, waiter.charged and 'its client is silent' or 'its scope is unknown')
  return 'left'
end

-- Whether a waiter stands before a place.
local function is_before(call, waiter, place)
  if not waiter or waiter.left or place and waiter.place > place or not waiters.is_heard(call, waiter) then
    return false
  end
  waiter.charged = waiter.charged or charged_of(call, waiter)
  return waiter.charged ~= nil
end

-- What those who stay hold back: the first `last` entries, and those that came in this call; `place`: only of those
-- before it.  Second result: the first of them.
local function marks_of(call, state, last, place)
  local marks, ahead = {}, nil
  state.has_first = false
  for n = 1, last + #state.puts do
    local waiter = state.seen[n]
    if n > last then waiter = state.puts[n - last] end
    if is_before(call, waiter, place) then
      ahead = ahead or waiter
      hold_back(call, state, waiter, marks)
    end
  end
  return marks, ahead
end

-- Whether nobody behind this waiter can go where it cannot: they ask for the same, or none may pass.
local function ends_here(call, state)
  return state.shape ~= waiters.MIXED or state.policy == 'strict' and not call.pool.keeps
end

-- Serves the entries from the first on.  Returns what those who stay hold back.
local function serve_first(call, state)
  local marks, n, ahead = {}, 1, nil
  state.has_first = false
  while true do
    local waiter = state.seen[n] or read_next(call, state)
    if not waiter then break end
    if not waiter.left then
      local gone = serve_one(call, state, waiter, marks)
      if not gone then
        ahead = ahead or waiter
        hold_back(call, state, waiter, marks)
        if ends_here(call, state) then
          state.cut = false
          break
        end
      elseif ahead and gone == 'granted' then
        count_pass(state, ahead)
        marks = marks_of(call, state, n)
      end
    end
    n = n + 1
  end
  return marks
end

-- Serves the entries after those that an earlier call has looked at.
local function serve_others(call, state)
  local marks, from = contention.parse(state.cursor_marks), '(' .. numbers.text(state.cursor)
  local ids = redis.call('ZRANGEBYSCORE', waiters.index(call), from, '+inf', 'WITHSCORES', 'LIMIT', '0',
    limits.WAITERS_LOOKED_MAX)
  for i = 1, #ids, 2 do
    local waiter = line.of_id(call, ids[i], tonumber(ids[i + 1]))
    state.cursor = tonumber(ids[i + 1])
    if not waiter.left then
      local gone = serve_one(call, state, waiter, marks)
      if not gone and state.policy ~= 'best_effort' then
        contention.add(marks, waiter.charged, waiter.list, state.policy == 'strict')
      end
    end
  end
  state.cursor_marks = contention.text(marks)
  if #ids < 2 * limits.WAITERS_LOOKED_MAX or not state.cursor_marks then state.cursor = nil end
end

-- Grants what may be granted.
function line.serve(call)
  local state = line.open(call)
  if state.count == 0 or call.pool.recovering or call.pool.state then return end
  local marks = serve_first(call, state)
  if state.cut and not state.cursor then
    state.cursor_marks = contention.text(marks)
    state.cursor = state.cursor_marks and state.seen[#state.seen].place or nil
  end
end

-- Grants what may be granted, once a call, before one of its items is decided.  `others`: looks further where an
-- earlier call has stopped.
function line.serve_once(call, others)
  local state = line.open(call)
  local kind = others and state.cursor and 'others' or 'first'
  if state[kind .. '_served'] then return end
  state[kind .. '_served'] = true
  if kind == 'first' then
    line.serve(call)
  elseif not call.pool.recovering then
    serve_others(call, state)
  end
end

-- Whether the request must wait for those before its place; second result: the first of them.
function line.blocks(call, place, charged, list)
  local state = line.open(call)
  if state.count == 0 then return false, nil end
  local n, many = 1, false
  while true do
    local waiter = state.seen[n] or read_next(call, state)
    if not waiter then
      many = state.cut
      break
    end
    if waiter.place > place or is_before(call, waiter) and ends_here(call, state) then break end
    n = n + 1
  end
  local marks, ahead = marks_of(call, state, #state.seen, place)
  -- Those that it has not looked at may compete, too.
  if many and state.policy ~= 'best_effort' then return true, ahead end
  return contention.has(marks, charged, list), ahead
end

-- A request is granted that passes the first waiter: counted when the call is finished.
function line.pass(call, ahead)
  if not ahead then return end
  call.line.passing, call.line.passed = call.line.passing + 1, ahead
end

-- Wakes the first waiter, whose client asks again: for changes of limits, which this call does not decide by.
function line.wake_first(call)
  if not call.pool.waits then return end
  local state = line.open(call)
  local waiter = state.seen[1] or read_next(call, state)
  if waiter and waiter.call then state.wakes[#state.wakes + 1] = waiter.call end
end

-- Plans the fields of the pool that have changed.
local function keep(call, state)
  local waits = state.count > 0
  local first, cursor = state.first, state.cursor
  local values = {
    numbers.text(state.number), state.shape, first and numbers.text(state.passes), first,
    cursor and numbers.text(cursor), cursor and state.cursor_marks,
  }
  for i = 1, #FIELDS do
    local value = waits and values[i] or nil
    if value and value ~= state.was[i] then pools.set(call, FIELDS[i], value) end
    if not value and state.was[i] then pools.drop(call, FIELDS[i]) end
  end
  if waits ~= (call.pool.waits ~= nil) then pools.set_option(call, 'waits', waits and '1' or '') end
end

-- Before a commit: grants what this call has freed, and plans what the line needs.
function line.finish(call)
  local pool = call.pool
  if call.refused or not pool.waits and not call.line then return end
  if pool.waits and (call.removed or call.freed) then line.serve(call) end
  local state = call.line
  if not state then return end
  if state.passing > 0 and not state.passed.left then
    count_pass(state, state.passed)
    state.passes = state.passes + state.passing - 1
  end
  keep(call, state)
end

return line
