#!lua flags=allow-oom
--[[
move -- Charge a live allocation to another scope, all or nothing.

The amounts stay.  The accounts of its scope are uncharged and those of the other are charged in one decision.  It is
decided as a release and a request after it: it is refused where an account above both is above its limit.  Expired
allocations of the other scope make room, as for a request.  A move to where it is changes nothing.
It does not wait in line.

KEYS    records      keys    the key of the one item
ARGV    items        list    of one (call, repeated, fence, scope); fence 0: any; scope '': the pool alone
Reply   per item {"moved", field, value, ...} (with the fields epoch and durability) | {"unknown"} | {"fenced", fence}
        | {"denied", code, account, (resource, requested, allocated, capacity)*, {kept, ...}?}
        | {"unknown_scope", scope} | {"reclaim_first"} | {"recovering", remaining_ms, why}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
Writes  pool, accounts, records, ended, events; if it reclaims also deadlines, pinned
Cost    O(A * R + 64 * R)
]]
local accounts = require('accounts')
local arguments = require('arguments')
local clock = require('clock')
local denials = require('denials')
local events = require('events')
local expiry = require('expiry')
local history = require('history')
local idempotency = require('idempotency')
local limits = require('limits')
local line = require('line')
local pools = require('pools')
local quotas = require('quotas')
local records = require('records')
local recovery = require('recovery')
local shares = require('shares')
local transaction = require('transaction')

-- The reply words that a retry gets again after a call that changed nothing.
local REFUSED = {'unknown', 'denied', 'unknown_scope'}

local function read_item(call)
  local fence, scope = arguments.integer(call, 'fence'), arguments.text(call, 'scope')
  return {fence = fence, scope = scope, call = nil, repeated = nil, key = nil}
end

-- The names of the accounts after the move: those of the scope, then those of the record that are no quotas.
local function names_after(record, scope)
  local names = scope == '' and {} or quotas.names(scope)
  if not names then error({err = 'CONTRACT scope is no name of a scope'}) end
  for i = 1, record.accounts and #record.accounts or 0 do
    local name = record.accounts[i]
    if not quotas.is_one(name) then names[#names + 1] = name end
  end
  return names
end

-- Charges the other accounts, or returns the denial.
local function refuse(call, charged, list)
  if not accounts.take(charged, list) then return nil end
  local reply = denials.reply(charged, list)
  if reply[2] ~= 'capacity_exceeded' then return reply end
  if not expiry.make_room(call, limits.RECLAIM_INLINE_MAX, charged, list) then return nil end
  return call.more_expired and {'reclaim_first'} or denials.reply(charged, list)
end

local function move(call, item, record, was_denied)
  local names, list = names_after(record, item.scope), record.list
  local before = accounts.charged(call, record.accounts, list)
  local after = accounts.charged(call, names, list)
  after.moves = true
  if item.scope ~= '' and not call.accounts[names[1]] then return {'unknown_scope', item.scope} end
  local covered
  if record.accounts then covered = accounts.covering(call, record) else covered = accounts.covers(call.pool, list) end
  if not covered then
    error({err = 'INVARIANT allocation ' .. record.id .. ' took more than its account has allocated'})
  end
  accounts.add_all(before, list, -1)
  local reply
  if was_denied then reply = denials.reply(after, list, nil, nil, true) else reply = refuse(call, after, list) end
  if reply then
    accounts.add_all(before, list, 1)
    return reply
  end
  records.edit(call, record)
  record.stored_accounts, record.accounts = record.accounts or {}, names[1] and names or nil
  if record.share then
    shares.uncharge(call, record)
    record.share, record.share_of = nil, nil
  end
  if call.pool.weights then shares.charge(call, record, record.accounts) end
  pools.next_revision(call)
  events.add(call, 'moved', record.id, record, item.scope)
  idempotency.complete(call, item.call)
  call.freed = true
  return records.reply(call, 'moved', record)
end

-- Whether the allocation is charged to this scope; '': to the pool alone.
local function is_in(record, scope)
  local first = record.accounts and record.accounts[1] or ''
  return first == 'quota:' .. scope or scope == '' and not quotas.is_one(first)
end

local function decide(call, item)
  local record = records.of_item(call, item.key)
  if not record then return {'unknown'} end
  call.resized = record
  local completed_ms = idempotency.completed_at(call, item.call)
  local word = completed_ms and idempotency.was_told(call, item.call, REFUSED)
  if word == 'unknown' then return {word} end
  if word == 'unknown_scope' then return {word, item.scope} end
  if item.fence ~= 0 and item.fence ~= record.fence then return {'fenced', record.fence} end
  if completed_ms and not word or is_in(record, item.scope) then
    -- Written again, so that the caller can wait for replicas to receive it.
    records.edit(call, record)
    record.touched = true
    return records.reply(call, 'moved', record)
  end
  if call.pool.grace_ms then recovery.check(call) end
  if call.pool.recovering then return recovery.refusal(call) end
  return move(call, item, record, word == 'denied')
end

return function(call)
  -- Read
  clock.start(call)
  local items = arguments.items(call, read_item)
  if #items ~= 1 then error({err = 'CONTRACT items is no list of one'}) end
  local item = items[1]
  local fields, count = pools.fields(), pools.FIELDS
  count = records.load(call, items, fields, count)
  pools.open(call, fields, count)
  if call.refused or call.pool.state then return {{call.refused or call.pool.state}} end
  -- Decide
  local reply = decide(call, item)
  if item.repeated then
    for i = 1, #REFUSED do
      if reply[1] == REFUSED[i] then idempotency.complete_as(call, item.call, reply[1]) end
    end
  end
  if reply[1] == 'denied' then history.deny(call, reply) end
  line.finish(call)
  -- Write
  transaction.commit(call)
  return {reply}
end
