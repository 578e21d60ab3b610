-- gangs: atomic batches, of which all items are granted, or none.
local accounts = require('accounts')
local idempotency = require('idempotency')
local quotas = require('quotas')
local shares = require('shares')

local gangs = {}

-- Whether this reply word stops an atomic batch.
function gangs.stops(word)
  return word == 'denied' or word == 'conflict' or word == 'ended' or word == 'reclaim_first' or word == 'recovering'
    or word == 'ttl_too_long' or word == 'unknown_scope' or word == 'scope_required' or word == 'conflict_waiting'
    or word == 'withdrawn'
end

local function add_up(sums, name, list)
  local sum = sums[name] or {}
  for i = 1, #list, 2 do sum[list[i]] = (sum[list[i]] or 0) + list[i + 1] end
  sums[name] = sum
end

-- The totals of an atomic batch up to and including this item, by the name of each account.  The same id twice counts
-- as one allocation.
function gangs.asked(items, last)
  local sums, seen = {}, {}
  for i = 1, last do
    local one = items[i]
    if not seen[one.key] then
      add_up(sums, '', one.list)
      for n = 1, one.accounts and #one.accounts or 0 do
        local name = one.accounts[n]
        add_up(sums, name, one.list)
        if quotas.is_one(name) then add_up(sums, name, {quotas.ALLOCATIONS, quotas.ONE}) end
      end
    end
    seen[one.key] = true
  end
  return sums
end

-- Reverts the grants of the batch, not those to waiters.  Returns by how much the revision goes back: not at all where
-- a waiter's fence would be granted again.
local function give_back(call)
  local kept, undone = {}, 0
  for _, one in ipairs(call.fresh or {}) do
    if one.i then
      accounts.add_all(accounts.charged(call, one.accounts, one.list), one.list, -1)
      if one.share then shares.uncharge(call, one) end
      call.records[one.key], undone = false, undone + 1
    else
      kept[#kept + 1] = one
    end
  end
  call.fresh = kept[1] and kept or nil
  if call.line then call.line.passing = 0 end
  return kept[1] and 0 or undone + (call.tentative or 0)
end

-- Reverts what the batch has granted and extended.  Reclaimed allocations stay reclaimed.
function gangs.revert(call)
  call.pool.revision = call.pool.revision - give_back(call)
  local shared = call.shared or {}
  for i = #shared, 1, -1 do
    local was = shared[i]
    local record = was.record
    record.call, record.ttl_ms, record.deadline_ms, record.asserted_ms = was.call, was.ttl_ms, was.deadline_ms,
      was.asserted_ms
    record.gap_ms, record.ttls, record.told, record.touched = was.gap_ms, was.ttls, was.told, nil
    record.unclaimed_ttl_ms = was.unclaimed_ttl_ms
  end
  if call.forgotten_calls then idempotency.keep(call, call.forgotten_calls) end
  call.shared, call.forgotten_calls, call.tentative = nil, nil, nil
end

-- Stops the batch: nothing of it is granted or extended, and the replies of its other items name the one that stopped
-- it.
function gangs.stop(call, items, replies, stopped)
  gangs.revert(call)
  local word = replies[stopped][1]
  for i = 1, #items do
    if i ~= stopped then replies[i] = {word == 'reclaim_first' and 'reclaim_first' or 'aborted', stopped} end
  end
end

return gangs
