#!lua
--[[
allocate -- Grant requests, each completely or not at all; a denial has the numbers.

Items are decided in order against running totals, each after those before it.  A live allocation of the same id is
returned, not granted again.  If capacity is short, at most RECLAIM_INLINE_MAX expired allocations are reclaimed, oldest
first.  With `atomic` all items are granted or none.  If the server has lost data, a pool with a recovery grace grants
nothing new for that time; fences jump ahead in any case.

With `wait`, what does not fit takes a place in line (`line`); its caller asks again with the same call, at least every
WAITER_TTL_MS, until it is granted; the call without `wait` is the last, and leaves the line.  While somebody waits,
nothing is granted that would pass those before it, but as the pool's policy says, and what is backfilled.  An atomic
batch waits as one (`gang_waits`): each of its items has `wait`, and the same priority, and there are at most GANG_MAX
of them.

With `replaces` the item takes the charge of another live allocation of the same amounts and accounts, which ends in the
same decision: no capacity is checked.  Where there is none of that fence, the item is decided as without it.

KEYS    records      keys    one for each item; then each account that an item names, and each record to replace, once
ARGV    atomic       int     1: all or none
        items        list    of (call, repeated, owner, ttl_ms, R, M, O, (field, amount)*R, (field, value)*M,
                             (option, value)*O): R fields `<resource>.allocated`, M fields `meta.<key>`; ttl_ms 0 pins;
                             option `account`: the name of an account to charge too, innermost first; `scope`: its
                             quota, and those above it, are charged too; `exclusive`, 1: a live allocation of the id is
                             a conflict, unless this call has it; `replaces`: `<fence>:<id>` of the allocation to
                             replace, not with `atomic`; `lifetime_ms`: the time until its hard end, which no
                             deadline of it passes; with ttl_ms 0 it is a lease until then; `wait`: for how many ms the
                             caller waits, not with `replaces`; `priority`: -PRIORITY_MAX to PRIORITY_MAX, of its
                             place in line;
                             `preempt`, 1: it may take room from lower priorities, only with `wait`, not with `atomic`;
                             `estimate`, 1: a denial that may be over later says when, not with `atomic`
Reply   per item {"granted", fence, granted_ms, deadline_ms, epoch, durability, scope, ends_ms} (0: pinned;
          durability: the pool's, or left out; scope: the one that is charged, or left out; ends_ms: likewise)
        | {"replayed", field, value, ...} (granted by this call before; with the fields epoch and durability)
        | {"existing", field, value, ...} (same owner and amounts; deadline no earlier than now + ttl, or its end)
        | {"conflict", field, value, ...} | {"ended", ended_ms}
        | {"denied", code, account, (resource, requested, allocated, capacity)*, {kept, ...}?} (account '': the pool)
        | {"estimated", position, start_ms, denial} (with `estimate`; position: its place in line, if it waited;
          start_ms: the earliest start there that known deadlines allow, 0: not foreseen; denial: a reply)
        | {"unknown_scope", scope} | {"scope_required"}
        | {"waiting", position, again_ms, refusal, item?} (in line; again_ms: until the next deadline; refusal: a
          reply; item: of a gang, the first that is refused)
        | {"queue_full", length} | {"conflict_waiting", owner} (another call waits for the id) | {"withdrawn"}
        | {"reclaim_first"} (more have expired than this reclaims) | {"aborted", item} (1-based; it stopped the batch)
        | {"ttl_too_long", max_ttl_ms} | {"recovering", remaining_ms, why}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
Writes  pool, accounts, records, waiters, deadlines, pinned, ended, events
Cost    O(I * (A * R + log N) + 64 * R): I items, A accounts, R resources, N live; while somebody waits also O(32 * R)
]]
local accounts = require('accounts')
local arguments = require('arguments')
local arrivals = require('arrivals')
local clock = require('clock')
local denials = require('denials')
local estimates = require('estimates')
local expiry = require('expiry')
local gang_waits = require('gang_waits')
local gangs = require('gangs')
local history = require('history')
local idempotency = require('idempotency')
local limits = require('limits')
local line = require('line')
local line_entries = require('line_entries')
local records = require('records')
local recovery = require('recovery')
local removals = require('removals')
local repeats = require('repeats')
local requests = require('requests')
local transaction = require('transaction')
local waiters = require('waiters')

-- For a request that does not fit: reclaims expired allocations and charges it, or returns the denial.
local function refuse(call, items, request, charged)
  local list = request.list
  local reply = denials.reply(charged, list, nil, call.atomic and gangs.asked(items, request.i))
  if reply[2] ~= 'capacity_exceeded' then return reply end
  local short = expiry.make_room(call, limits.RECLAIM_INLINE_MAX, charged, list)
  if not short then return nil end
  -- Nothing has expired.
  if call.expired_most == 0 then return reply end
  return call.more_expired and {'reclaim_first'} or denials.reply(charged, list)
end

-- The live record of the fence that the request replaces, or nil.
local function find_replaced(call, request)
  local key = request.replaces
  local known = call.records[key]
  local record = records.of_item(call, key)
  if record and not record.fresh and record.fence == request.replaces_fence then return record end
  -- No item of this call: if it has expired, it may be reclaimed.
  call.records[key] = known
  return nil
end

-- Whether a record has the request's amounts, and is charged to the same accounts.
local function has_charge(request, charged, record)
  local names = record.accounts or {}
  if #names ~= #charged - 1 then return false end
  for i = 1, #names do
    if names[i] ~= charged[i].name then return false end
  end
  return requests.matches({owner = record.owner, list = request.list, accounts = names}, record)
end

local function end_replaced(call, request, record)
  removals.plan(call, record, 'released', 'replaced by ' .. records.id(call, request.key))
end

-- Whether the request would keep the room of a record beyond its hard end, while others wait and may count on that.
local function outlasts(call, request, record)
  if not record.ends_ms or not (call.pool.waits or call.line) or not line.counts_on_ends(call) then return false end
  local ends_ms = records.end_of(call, request.lifetime_ms)
  return not ends_ms or ends_ms > record.ends_ms
end

-- Grants the request the charge of the record that it replaces; nil if there is none.
local function replace(call, request, charged)
  local known = call.records[request.replaces]
  local replaced = find_replaced(call, request)
  if not replaced or not has_charge(request, charged, replaced) or outlasts(call, request, replaced) then
    call.records[request.replaces] = known
    return nil
  end
  end_replaced(call, request, replaced)
  accounts.add_all(charged, request.list, 1)
  return requests.grant(call, request, charged)
end

-- The reply to a call that is completed, or nil.
local function completed(call, id)
  local completed_ms = idempotency.completed_at(call, id)
  if not completed_ms then return nil end
  return idempotency.was_told(call, id, {'withdrawn'}) and {'withdrawn'} or {'ended', completed_ms}
end

-- For a request that is refused for now: its place in line, if it may wait.
local function stay(call, request, charged, waiter, refusal)
  if waiter and not request.wait_ms then return arrivals.give_up(call, waiter, refusal) end
  if not request.wait_ms then return refusal end
  local reply
  if waiter then
    reply = arrivals.hear(call, request, charged, waiter, refusal)
  else
    reply = arrivals.enter(call, request, charged, refusal)
  end
  -- What it has preempted at once may be its own by now.
  local record = request.preempt and call.records[request.key]
  return record and repeats.answer(call, request, record) or reply
end

-- The refusal of a request that must wait for others; second result: whether it may fit later.
local function refusal_of(call, items, request, charged)
  local list = request.list
  if not accounts.take(charged, list) then
    accounts.add_all(charged, list, -1)
    return denials.queued(charged, list), true
  end
  local reply = denials.reply(charged, list, nil, call.atomic and gangs.asked(items, request.i))
  return reply, reply[2] == 'capacity_exceeded'
end

-- Whether a request that is held back, and fits, is sure to end before those before it in line could start.
local function fills(call, request, refusal)
  if refusal[2] ~= 'queued' then return false end
  local ends_ms = records.end_of(call, request.lifetime_ms)
  return line.fills(call, ends_ms)
end

-- Lets those before it in line go first.  Returns the reply, if it has one by now; else whom it passes (`line.pass`).
local function queue(call, items, request, charged, waiter)
  local place, is_long = arrivals.place(call, request.priority, request.accounts), false
  if call.pool.waits then
    expiry.reclaim_due(call, limits.RECLAIM_INLINE_MAX)
    is_long = not waiter and line.is_long(call, place)
    line.serve_once(call, waiter ~= nil or is_long)
    local record = call.records[request.key]
    if record then return repeats.answer(call, request, record) end
    if call.pool.weights then place = arrivals.place(call, request.priority, request.accounts) end
  end
  if waiter and waiter.left then waiter = nil end
  local blocked, ahead = true, nil
  if not waiter and not is_long then blocked, ahead = line.blocks(call, place, charged, request.list) end
  if not blocked then return nil, ahead end
  local refusal, may_fit = refusal_of(call, items, request, charged)
  if not waiter and not is_long and fills(call, request, refusal) then return nil, false end
  if may_fit and call.more_expired and not request.wait_ms then return {'reclaim_first'} end
  -- What can never fit does not wait.
  if waiter and request.wait_ms and not may_fit then
    line_entries.leave(call, waiter, 'it can never fit')
    call.freed = true
    return refusal
  end
  return waiter and stay(call, request, charged, waiter, refusal)
    or may_fit and stay(call, request, charged, nil, refusal) or refusal
end

-- The accounts to charge; nil and the reply, if the request cannot be granted as it is, nor wait.
local function check_request(call, request)
  local pool = call.pool
  if pool.max_ttl_ms and requests.is_too_long(call, request.ask_ms + 0) then
    return nil, {'ttl_too_long', pool.max_ttl_ms}
  end
  if pool.recovering and not request.wait_ms then return nil, recovery.refusal(call) end
  return requests.accounts_of(call, request)
end

-- Who waits for the id, or nil.  One that is not heard leaves; in a recovery it may not have been able to ask.
local function find_waiter(call, request)
  local waiter = line_entries.at_record(call, request.key)
  if not waiter or waiters.is_heard(call, waiter) or call.pool.recovering and waiter.call == request.call then
    return waiter
  end
  line_entries.leave(call, waiter, 'its client is silent')
  call.freed = true
  return nil
end

-- Decides a request whose id is not live.
local function decide_new(call, items, request)
  local pool, list, ahead = call.pool, request.list, nil
  local waiter = (pool.waits or call.line) and find_waiter(call, request)
  if waiter and waiter.call ~= request.call then return {'conflict_waiting', waiter.owner} end
  local charged, refusal = check_request(call, request)
  if refusal then return waiter and arrivals.give_up(call, waiter, refusal) or refusal end
  if pool.recovering then return stay(call, request, charged, waiter, recovery.refusal(call)) end
  local granted = request.replaces and replace(call, request, charged)
  if granted then return granted end
  if pool.waits or call.line then
    local reply
    reply, ahead = queue(call, items, request, charged, waiter)
    if reply then return reply end
  end
  if accounts.take(charged, list) then
    local reply = refuse(call, items, request, charged)
    if reply and reply[2] == 'capacity_exceeded' then return stay(call, request, charged, nil, reply) end
    if reply then return reply end
  end
  line.pass(call, ahead, charged, list)
  return requests.grant(call, request, charged)
end

-- The denial with the request's place in line, if it waited, and when it could start there.
local function foresee(call, request, denial)
  if not estimates.passes(denial) then return denial end
  local charged = requests.accounts_of(call, request)
  local position, start_ms = estimates.turn(call, charged, request.list, request.priority or 0)
  return {'estimated', position, start_ms, denial}
end

local function decide(call, items, request)
  local record = records.of_item(call, request.key)
  local reply
  if record then
    reply = repeats.answer(call, request, record)
    local replaced = reply and request.replaces and reply[1] == 'existing' and find_replaced(call, request)
    if replaced then end_replaced(call, request, replaced) end
  else
    reply = completed(call, request.call)
  end
  reply = reply or decide_new(call, items, request)
  return request.estimate and reply[1] == 'denied' and foresee(call, request, reply) or reply
end

local function refuse_all(items, word)
  local replies = {}
  for i = 1, #items do replies[i] = {word} end
  return replies
end

return function(call)
  -- Read
  clock.start(call)
  local atomic = arguments.flag(call, 'atomic')
  call.atomic = atomic
  local items = requests.load(call)
  local pool = call.pool
  if call.refused or pool.state then return refuse_all(items, call.refused or pool.state) end
  -- Decide
  if pool.grace_ms or call.argv[3] ~= '0' then recovery.check_grant(call) end
  local replies, stopped = {items[1]}, 0
  local wait_ms, is_decided = nil, nil
  if atomic then wait_ms, is_decided = gang_waits.begin(call, items, replies) end
  for i = 1, is_decided and 0 or #items do
    replies[i] = decide(call, items, items[i])
    if atomic and gangs.stops(replies[i][1]) then
      gangs.stop(call, items, replies, i)
      stopped = i
      break
    end
  end
  if wait_ms and stopped > 0 then gang_waits.stay(call, items, replies, stopped, wait_ms) end
  for i = 1, #items do
    local word = replies[i][1]
    if word == 'denied' or word == 'estimated' or word == 'queue_full' then history.deny(call, replies[i]) end
  end
  line.finish(call)
  -- Write
  transaction.commit(call)
  return replies
end
