-- line_entries: what one call knows of the line: the entries that it has read, in their order, those that come, and
-- those that leave.  call.line = {count, seen, at, looked, known, puts, coming, drops, memberships, ...}: `seen` has
-- the entries from the first on that were read, and those that came among them; `coming` those that came behind these;
-- `puts` all that came; `drops` those that leave; `moves` those that get another place; `memberships` entries of the
-- index of members of gangs, true: to add.  Of a line by fair share (`fair_order`): `leavers` have left since the
-- others of their scope were placed; `members` come into its index, `strays` leave it.
local contention = require('contention')
local events = require('events')
local limits = require('limits')
local numbers = require('numbers')
local parts = require('parts')
local pools = require('pools')
local records = require('records')
local waiters = require('waiters')

local line_entries = {}

local FIELDS = {
  'waiting_number', 'waiting_shape', 'waiting_passes', 'waiting_first', 'waiting_cursor', 'waiting_marks',
  'waiting_looked_ms',
}

-- Whether anybody waits.  The line's state, read once a call.
function line_entries.open(call)
  local state = call.line
  if state then return state end
  local options = call.pool.options or ''
  state = {
    count = 0, stored = 0, seen = {}, at = 0, looked = 0, served = 0, known = {}, puts = {}, coming = {}, heard = {},
    drops = {}, wakes = {}, moves = {}, leavers = {}, members = {}, strays = {}, memberships = {}, member_of = {},
    was = {}, policy = string.match(options, 'queue_policy=(%S+)') or 'contended',
    passes_max = tonumber(string.match(options, 'queue_passes_max=(%d+)')) or limits.PASSES_MAX,
    wait_max_ms = tonumber(string.match(options, 'queue_wait_max_ms=(%d+)')) or limits.WAIT_PASSED_MAX_MS,
    length_max = tonumber(string.match(options, 'queue_length_max=(%d+)')) or limits.QUEUE_MAX,
    backfill = string.find(options, 'queue_backfill=1', 1, true), number = 0, passes = 0, passing = 0,
  }
  call.line = state
  if not call.pool.waits then return state end
  local found = redis.call('HMGET', call.key, unpack(FIELDS))
  state.was = found
  state.count = redis.call('ZCARD', waiters.index(call))
  state.stored, state.number, state.shape = state.count, tonumber(found[1]) or 0, found[2] or waiters.MIXED
  state.passes, state.first = tonumber(found[3]) or 0, found[4]
  state.cursor, state.cursor_marks = tonumber(found[5]), found[6] or ''
  state.looked_ms = tonumber(found[7])
  return state
end

-- Adds the members of a gang to their index, or removes them.
local function note_members(call, state, waiter, is_there)
  if not waiter.members then return end
  -- The type of the index is checked before anything is written.
  redis.call('ZCARD', waiters.gangs(call))
  for n = 2, #waiter.members do
    local member = waiter.members[n]
    if member and member.id then
      state.memberships[waiters.membership(member, waiter)] = is_there
      state.member_of[member.id] = is_there and waiter.id
    end
  end
end

-- Removes an entry.
function line_entries.remove(call, waiter)
  local state = call.line
  note_members(call, state, waiter, false)
  waiter.left, state.count = true, state.count - 1
  if state.first == waiter.id then state.first, state.passes = nil, 0 end
  if waiter.number then state.leavers[#state.leavers + 1] = waiter end
  if waiter.new then
    state.puts[waiter.new] = false
    waiter = waiter.instead_of
  end
  if waiter then state.drops[#state.drops + 1] = waiter end
end

-- The entry of an id, read once.
function line_entries.of_id(call, state, id, place)
  local waiter = state.known[id]
  if waiter == nil then
    waiter = waiters.read(call, id, place) or false
    state.known[id] = waiter
  end
  return waiter
end

-- Inserts a waiter into a list in the order of places.
local function insert(list, waiter)
  local at = #list + 1
  while at > 1 and list[at - 1].place > waiter.place do at = at - 1 end
  table.insert(list, at, waiter)
end

-- Those behind the cursor are compared with a waiter that has come before it, too.
function line_entries.note_ahead(state, waiter)
  if not state.cursor or waiter.place >= state.cursor or state.policy == 'best_effort' then return end
  local marks = contention.parse(state.cursor_marks)
  parts.hold_back(marks, waiter, state.policy == 'strict')
  state.cursor_marks = contention.text(marks)
  if not state.cursor_marks then state.cursor = nil end
end

-- What is granted while the line is longer than one call looks at, for those behind the cursor.
function line_entries.note_taken(state, waiter)
  if not state.cursor then return end
  local marks = contention.parse(state.cursor_marks)
  parts.taken(marks, waiter)
  state.cursor_marks = contention.text(marks)
end

-- Adds a waiter that comes in this call, perhaps in the place of one of the same id that has left in it.
function line_entries.add(call, waiter)
  local state = line_entries.open(call)
  local seen, drops = state.seen, state.drops
  -- What is there of the id, and the type of the line, are read before anything is written.
  if state.stored == 0 then redis.call('ZCARD', waiters.index(call)) end
  local was = line_entries.of_id(call, state, waiter.id, nil)
  if was and not was.left then waiter.instead_of = was end
  for n = #drops, 1, -1 do
    if drops[n].id == waiter.id then waiter.instead_of = table.remove(drops, n) end
  end
  state.count, waiter.new = state.count + 1, #state.puts + 1
  state.puts[waiter.new], state.known[waiter.id] = waiter, waiter
  note_members(call, state, waiter, true)
  insert(seen[1] and waiter.place < seen[#seen].place and seen or state.coming, waiter)
  line_entries.note_ahead(state, waiter)
end

-- Takes a waiter out of a list of those that were read; nothing else in the list moves.
local function take_out(list, waiter)
  for n = 1, #list do
    if list[n] == waiter then list[n] = {id = waiter.id, place = waiter.place, left = true} end
  end
end

-- Gives a waiter another place.
function line_entries.move(call, waiter, place)
  if waiter.place == place or waiter.left then return end
  local state = line_entries.open(call)
  local seen = state.seen
  take_out(seen, waiter)
  take_out(state.coming, waiter)
  if not waiter.new and not waiter.was_place then
    waiter.was_place = waiter.place
    state.moves[#state.moves + 1] = waiter
  end
  waiter.place = place
  insert(seen[1] and place < seen[#seen].place and seen or state.coming, waiter)
end

-- Ends a wait that is not granted.
function line_entries.leave(call, waiter, reason)
  line_entries.remove(call, waiter)
  events.add(call, 'withdrawn', waiter.id, nil, reason)
end

-- The waiter of an id that is in line at a place.  One without an entry, or with a broken one, leaves.
function line_entries.at_place(call, state, id, place)
  local waiter = line_entries.of_id(call, state, id, place)
  if waiter and waiter.new then
    -- It came in this call; who stood here before has no entry.
    if not waiter.instead_of then state.count = state.count - 1 end
    return waiter.instead_of or {id = id, place = place, left = true}
  end
  -- It has another place by now.
  if waiter and waiter.was_place then return {id = id, place = place, left = true} end
  if not waiter then
    waiter = {id = id, key = waiters.key(call, id), place = place}
    state.known[id] = waiter
    line_entries.remove(call, waiter)
  end
  waiter.place = place
  if waiter.broken and not waiter.left then line_entries.leave(call, waiter, 'its entry ' .. waiter.broken) end
  return waiter
end

-- The next waiter from the first on; nil at the end, or if this call has looked at enough of them.
function line_entries.next(call, state)
  if not state.ids then
    state.ids = state.stored == 0 and {}
      or redis.call('ZRANGE', waiters.index(call), '0', limits.WAITERS_LOOKED_MAX, 'WITHSCORES')
  end
  local id, place = state.ids[state.at + 1], tonumber(state.ids[state.at + 2])
  local waiter = state.coming[1]
  if waiter and (not id or waiter.place < place) then
    table.remove(state.coming, 1)
  elseif not id or state.looked >= limits.WAITERS_LOOKED_MAX then
    state.cut = id ~= nil
    return nil
  else
    state.at = state.at + 2
    waiter = line_entries.at_place(call, state, id, place)
    state.looked = state.looked + waiters.size(waiter)
  end
  state.seen[#state.seen + 1] = waiter
  return waiter
end

-- An entry, with its place, if it is in line; else nil.
local function in_line(call, state, waiter)
  if not waiter or waiter.left then return nil end
  local place = waiter.place or tonumber(redis.call('ZSCORE', waiters.index(call), waiter.id) or nil)
  if not place then
    -- An entry that is not in line counts as none.
    state.drops[#state.drops + 1], waiter.left = waiter, true
  elseif not waiter.place then
    waiter = line_entries.at_place(call, state, waiter.id, place)
  end
  return not waiter.left and waiter or nil
end

-- The first member of the gang of an id, or nil.
local function gang_id(call, state, id)
  if state.member_of[id] == nil then
    local index, first = waiters.gangs(call), '[' .. id .. ' '
    local found = redis.call('ZRANGEBYLEX', index, first, '(' .. id .. '!', 'LIMIT', '0', '1')
    state.member_of[id] = found[1] and string.sub(found[1], #id + 2) or false
  end
  return state.member_of[id] or nil
end

-- The gang in line of which an id is a member, but not the first; or nil.
local function gang_of(call, state, id)
  local first = gang_id(call, state, id)
  local gang = first and in_line(call, state, line_entries.of_id(call, state, first, nil))
  return gang and waiters.member(gang, id) and gang or nil
end

-- The entry of the id with this record, perhaps of its gang, or nil.
function line_entries.at_record(call, key)
  local state = line_entries.open(call)
  local id = records.id(call, key)
  local waiter = in_line(call, state, line_entries.of_id(call, state, id, nil))
  if waiter or not call.pool.waits and state.count == 0 then return waiter end
  return gang_of(call, state, id)
end

-- Plans the fields of the pool that have changed.
function line_entries.keep(call, state)
  local waits = state.count > 0
  local first, cursor = state.first, state.cursor
  local values = {
    numbers.text(state.number), state.shape, first and numbers.text(state.passes), first,
    cursor and numbers.text(cursor), cursor and state.cursor_marks, state.looked_ms and numbers.text(state.looked_ms),
  }
  for i = 1, #FIELDS do
    local value = waits and values[i] or nil
    if value and value ~= state.was[i] then pools.set(call, FIELDS[i], value) end
    if not value and state.was[i] then pools.drop(call, FIELDS[i]) end
  end
  if waits ~= (call.pool.waits ~= nil) then pools.set_option(call, 'waits', waits and '1' or '') end
end

return line_entries
