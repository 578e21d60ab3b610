-- gang_waits: an atomic batch that waits.  It has one place in line, under the id and the call of its first item, and
-- nothing of it is granted before all of it is.
-- The batch is first decided as one that does not wait.  What stops it for now is why it waits.  An item whose id is
-- live with the same request counts as granted; the wait changes nothing of it.  If such an allocation has ended before
-- the grant, it is granted anew with the others.
local arrivals = require('arrivals')
local claims = require('claims')
local expiry = require('expiry')
local gangs = require('gangs')
local idempotency = require('idempotency')
local limits = require('limits')
local line = require('line')
local line_entries = require('line_entries')
local parts = require('parts')
local records = require('records')
local recovery = require('recovery')
local repeats = require('repeats')
local requests = require('requests')
local waiters = require('waiters')

local gang_waits = {}

local function refuse(i, what)
  error({err = 'CONTRACT item ' .. i .. ': ' .. what})
end

-- Checks an item of a batch that waits against the first, and against those of the same id; `by_key` gets it.
local function check_item(item, first, by_key)
  if item.wait_ms ~= first.wait_ms then refuse(item.i, 'wait is not that of the other items') end
  if item.priority ~= first.priority then refuse(item.i, 'priority is not that of the other items') end
  local other = by_key[item.key]
  if other and (item.exclusive or item.scope ~= other.scope or not requests.matches(item, other)) then
    refuse(item.i, 'asks for something else under the id of another item')
  end
  by_key[item.key] = other or item
end

-- Takes the wait out of the items.  Returns it, or nil.
local function take_wait(items)
  local waits = false
  for i = 1, #items do waits = waits or items[i].wait_ms ~= nil end
  if not waits then return nil end
  if #items > limits.GANG_MAX then refuse(#items, 'more than may wait as one') end
  local wait_ms, by_key = items[1].wait_ms, {}
  for i = 1, #items do check_item(items[i], items[1], by_key) end
  for i = 1, #items do items[i].wait_ms = nil end
  return wait_ms
end

-- Stops the batch, whose reply is that of one item.
local function stop(call, items, replies, i, reply)
  replies[i] = reply
  gangs.stop(call, items, replies, i)
end

-- The entry of this batch, or nil.  One that is not heard leaves; in a recovery it may not have been able to ask.
local function find(call, lead)
  local gang = (call.pool.waits or call.line) and line_entries.at_record(call, lead.key)
  if not gang or not gang.members or gang.call ~= lead.call then return nil end
  if waiters.is_heard(call, gang) or call.pool.recovering then return gang end
  line_entries.leave(call, gang, 'its client is silent')
  call.freed = true
  return nil
end

-- The reply to an item that ends the wait, or nil; second result: whether its id is live.
local function examine_item(call, item)
  local record = records.of_item(call, item.key)
  local reply = record and repeats.answer(call, item, record)
  if reply then
    -- Without a scope of its own it is charged anew, if it has ended by then, as it was.
    item.accounts = item.accounts or record.accounts
    return gangs.stops(reply[1]) and reply or nil, true
  end
  local completed_ms = not record and idempotency.completed_at(call, item.call)
  if completed_ms then return {'ended', completed_ms}, false end
  if requests.is_too_long(call, item.ask_ms + 0) then return {'ttl_too_long', call.pool.max_ttl_ms}, false end
  local _, refusal = requests.accounts_of(call, item)
  return refusal, false
end

-- Examines all items.  Returns the first that ends the wait, and its reply; else nil, and which are live, by key.  What
-- it has shared of live allocations is reverted by `gangs.stop`.
local function examine(call, items)
  local live = {}
  for i = 1, #items do
    local reply
    reply, live[items[i].key] = examine_item(call, items[i])
    if reply then return i, reply end
  end
  return nil, live
end

-- The item of a member: the first of its id.
local function item_of(items, member)
  for i = 1, #items do
    if items[i].key == member.key then return i end
  end
  return 1
end

-- Why the gang is refused now, and the item that is.
local function refusal_of(call, items, gang)
  gang.opened = parts.open(call, gang)
  if call.pool.recovering then return recovery.refusal(call), 1 end
  local refusal, n = parts.refusal(gang)
  return refusal, item_of(items, gang.members[n])
end

local function mark_live(gang, live)
  for _, member in ipairs(gang.members) do member.live = live[member.key] or false end
end

-- Every item has the same reply.
local function answer_all(items, replies, reply, i)
  reply[#reply + 1] = i
  for n = 1, #items do replies[n] = reply end
end

-- Whether a refusal may end with time.
local function is_for_now(refusal)
  return refusal[1] == 'recovering'
    or refusal[1] == 'denied' and (refusal[2] == 'capacity_exceeded' or refusal[2] == 'queued')
end

-- The client of a gang in line asks again, or for the last time.
local function hear(call, items, replies, gang, wait_ms)
  local i, found = examine(call, items)
  if i then
    stop(call, items, replies, i, arrivals.give_up(call, gang, found))
    return
  end
  gangs.revert(call)
  mark_live(gang, found)
  local refusal, refused = refusal_of(call, items, gang)
  if wait_ms and not is_for_now(refusal) then
    line_entries.leave(call, gang, 'it can never fit')
    call.freed = true
    stop(call, items, replies, refused, refusal)
  elseif wait_ms then
    items[1].wait_ms = wait_ms
    answer_all(items, replies, arrivals.hear(call, items[1], nil, gang, refusal), refused)
  else
    stop(call, items, replies, refused, arrivals.give_up(call, gang, refusal))
  end
end

-- Lets those before the gang go first, and perhaps the gang.
local function serve(call)
  if call.pool.recovering then return end
  expiry.reclaim_due(call, limits.RECLAIM_INLINE_MAX)
  line.serve_once(call, true)
end

-- Before an atomic batch is decided.  Returns for how long it may wait, or nil; second result: whether `replies` has
-- its reply already, as it is in line, or was taken out of it.
function gang_waits.begin(call, items, replies)
  local wait_ms, lead = take_wait(items), items[1]
  if not lead then return nil, true end
  local gang = find(call, lead)
  if not gang and not wait_ms then return nil, false end
  -- Of one in line no record is read before what has expired is reclaimed.
  local record = not gang and records.of_item(call, lead.key)
  if record and not claims.has(record, lead.call) and idempotency.was_told(call, lead.call, {'withdrawn'}) then
    stop(call, items, replies, 1, {'withdrawn'})
    return wait_ms, true
  end
  if gang then serve(call) end
  if not gang or gang.left then return wait_ms, false end
  hear(call, items, replies, gang, wait_ms)
  return wait_ms, true
end

-- Whether something of the batch has been granted to it.
local function is_begun(call, items)
  for i = 1, #items do
    local record = records.of_item(call, items[i].key)
    if record and claims.has(record, items[i].call) then return true end
  end
  return false
end

-- Who waits for an id of the items that is not live: the item, and the reply.
local function find_other(call, items, live)
  for i = 1, #items do
    local key = items[i].key
    local waiter = not live[key] and (call.pool.waits or call.line) and line_entries.at_record(call, key)
    if waiter and waiters.is_heard(call, waiter) then
      local one = waiters.member(waiter, records.id(call, key)) or waiter
      return i, {'conflict_waiting', one.owner}
    end
    if waiter then
      line_entries.leave(call, waiter, 'its client is silent')
      call.freed = true
    end
  end
  return nil, nil
end

local function members_of(call, items)
  local members, seen = {}, {}
  for i = 1, #items do
    if not seen[items[i].key] then
      local member = waiters.new(call, items[i], 0)
      member.n, member.key, seen[items[i].key] = #members + 1, items[i].key, true
      members[#members + 1] = member
    end
  end
  return members
end

-- Puts a batch into the line that was stopped at an item, if that is for now.  `replies` gets what it is told.
function gang_waits.stay(call, items, replies, stopped, wait_ms)
  if not is_for_now(replies[stopped]) then return end
  if is_begun(call, items) then
    -- A live allocation that it counted on has ended since: it must begin anew.
    replies[stopped] = {'ended', call.now}
    return
  end
  local i, found = examine(call, items)
  local live = i and {} or found
  if not i then i, found = find_other(call, items, live) end
  if i then
    stop(call, items, replies, i, found)
    return
  end
  gangs.revert(call)
  local gang = {members = members_of(call, items)}
  mark_live(gang, live)
  local refusal, refused = refusal_of(call, items, gang)
  if not is_for_now(refusal) then
    stop(call, items, replies, refused, refusal)
    return
  end
  items[1].wait_ms = wait_ms
  local reply = arrivals.enter(call, items[1], nil, refusal, gang.members)
  if reply[1] == 'waiting' then
    answer_all(items, replies, reply, refused)
  else
    stop(call, items, replies, refused, reply)
  end
end

return gang_waits
