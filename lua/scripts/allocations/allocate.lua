#!lua
--[[
allocate -- Grant requests, each completely or not at all; a denial has the numbers.

Items are decided in order against running totals, each after those before it.  A live allocation of the same id is
returned, not granted again.  If capacity is short, at most RECLAIM_INLINE_MAX expired allocations are reclaimed, oldest
first.  With `atomic` all items are granted or none.  If the server has lost data, a pool with a recovery grace grants
nothing new for that time; fences jump ahead in any case.

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
                             deadline of it passes; with ttl_ms 0 it is a lease until then
Reply   per item {"granted", fence, granted_ms, deadline_ms, epoch, durability, scope, ends_ms} (0: pinned;
          durability: the pool's, or left out; scope: the one that is charged, or left out; ends_ms: likewise)
        | {"replayed", field, value, ...} (granted by this call before; with the fields epoch and durability)
        | {"existing", field, value, ...} (same owner and amounts; deadline no earlier than now + ttl, or its end)
        | {"conflict", field, value, ...} | {"ended", ended_ms}
        | {"denied", code, account, (resource, requested, allocated, capacity)*, {kept, ...}?} (account '': the pool)
        | {"unknown_scope", scope} | {"scope_required"}
        | {"reclaim_first"} (more have expired than this reclaims) | {"aborted", item} (1-based; it stopped the batch)
        | {"ttl_too_long", max_ttl_ms} | {"recovering", remaining_ms, why}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
Writes  pool, accounts, records, deadlines, pinned, ended, events
Cost    O(I * (A * R + log N) + 64 * R): I items, A accounts, R resources, N live
]]
local accounts = require('accounts')
local arguments = require('arguments')
local clock = require('clock')
local denials = require('denials')
local expiry = require('expiry')
local gangs = require('gangs')
local idempotency = require('idempotency')
local limits = require('limits')
local records = require('records')
local recovery = require('recovery')
local removals = require('removals')
local repeats = require('repeats')
local requests = require('requests')
local transaction = require('transaction')

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

-- Grants the request the charge of the record that it replaces; nil if there is none.
local function replace(call, request, charged)
  local known = call.records[request.replaces]
  local replaced = find_replaced(call, request)
  if not replaced or not has_charge(request, charged, replaced) then
    call.records[request.replaces] = known
    return nil
  end
  end_replaced(call, request, replaced)
  accounts.add_all(charged, request.list, 1)
  return requests.grant(call, request, charged)
end

local function decide(call, items, request)
  local pool, key, id, list = call.pool, request.key, request.call, request.list
  local record = records.of_item(call, key)
  if record then
    local reply = repeats.answer(call, request, record)
    if reply then
      local replaced = request.replaces and reply[1] == 'existing' and find_replaced(call, request)
      if replaced then end_replaced(call, request, replaced) end
      return reply
    end
  else
    local completed_ms = idempotency.completed_at(call, id)
    if completed_ms then return {'ended', completed_ms} end
  end
  if pool.max_ttl_ms and requests.is_too_long(call, request.ask_ms + 0) then
    return {'ttl_too_long', pool.max_ttl_ms}
  end
  if pool.recovering then return recovery.refusal(call) end
  if not request.scope and (pool.scope or pool.needs_scope) then
    if not pool.scope then return {'scope_required'} end
    requests.charge_to(request, pool.scope)
  end
  local charged = request.accounts and accounts.charged(call, request.accounts, list) or {pool}
  if request.scope and not call.accounts['quota:' .. request.scope] then return {'unknown_scope', request.scope} end
  local granted = request.replaces and replace(call, request, charged)
  if granted then return granted end
  local short = accounts.take(charged, list)
  if short then
    local reply = refuse(call, items, request, charged)
    if reply then return reply end
  end
  return requests.grant(call, request, charged)
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
  local replies = {items[1]}
  for i = 1, #items do
    replies[i] = decide(call, items, items[i])
    if atomic and gangs.stops(replies[i][1]) then
      gangs.stop(call, items, replies, i)
      break
    end
  end
  -- Write
  transaction.commit(call)
  return replies
end
