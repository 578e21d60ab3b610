#!lua flags=allow-oom
--[[
resize -- Change the amounts of one live allocation, all or nothing.

The named resources change to these amounts, 0 gives one up, the others stay.  A resource that does not grow is not
checked, also if an account is overcommitted.  It runs on a full server too, as shrinking must be possible there, and
growing writes only a few bytes.

KEYS    records      keys    the key of the one item
ARGV    items        list    of one (call, repeated, fence, R, (field, amount)*R): R fields `<resource>.allocated`;
                             fence 0: any
Reply   per item {"resized", field, value, ...} (with the fields epoch and durability) | {"unknown"}
        | {"fenced", fence} | {"empty"} (nothing would be left) | {"too_many"} (resources)
        | {"denied", code, account, (resource, growth, allocated, capacity)*} (account '': the pool) | {"reclaim_first"}
        | {"recovering", remaining_ms, why} (if it would grow)
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
local records = require('records')
local recovery = require('recovery')
local shares = require('shares')
local transaction = require('transaction')
local waiters = require('waiters')

-- The reply words that a retry gets again after a call that changed nothing, as an undo could not revert a change.
local REFUSED = {'unknown', 'denied', 'empty', 'too_many'}

local function read_item(call)
  local fence = arguments.integer(call, 'fence')
  local count = arguments.integer(call, 'resources', limits.RESOURCES_MAX)
  local list = arguments.list(call, count, 0)
  return {fence = fence, list = list, call = nil, repeated = nil, key = nil}
end

-- The list after the resize: the record's resources in their order, then new ones; second result: those given up.
local function wanted(record, item)
  local change, held, list, gone = {}, {}, {nil, nil, nil, nil}, {}
  local asked, had, grows, n = item.list, record.list, false, 0
  for i = 1, #asked, 2 do change[asked[i]] = asked[i + 1] end
  for i = 1, #had, 2 do
    local field, was = had[i], had[i + 1] + 0
    local amount = change[field] or was
    held[field] = was
    grows = grows or amount > was
    if amount > 0 then
      list[n + 1], list[n + 2] = field, amount
      n = n + 2
    else
      gone[#gone + 1], gone[#gone + 2] = field, was
    end
  end
  for i = 1, #asked, 2 do
    local field, amount = asked[i], asked[i + 1]
    if amount > 0 and not held[field] then
      list[n + 1], list[n + 2] = field, amount
      n, grows = n + 2, true
    end
  end
  return {list = list, gone = gone, held = held, grows = grows}
end

-- The growth waits for nobody, but passes those in line only as a request of priority 0 would.  Returns the denial of
-- what would fit.
local function queue(call, record, charged, after)
  if not call.pool.waits then return nil end
  local growth = {}
  for i = 1, #after.list, 2 do
    local more = after.list[i + 1] - (after.held[after.list[i]] or 0)
    if more > 0 then growth[#growth + 1], growth[#growth + 2] = after.list[i], more end
  end
  expiry.reclaim_due(call, limits.RECLAIM_INLINE_MAX)
  line.serve_once(call)
  local blocked, ahead = line.blocks(call, waiters.last_place(0), charged, growth, true)
  after.ahead = ahead
  if not blocked or accounts.take(charged, after.list, after.held) then return nil end
  accounts.add_all(charged, after.list, -1, after.held)
  if line.fills(call, record.ends_ms) then
    after.ahead = false
    return nil
  end
  return call.more_expired and {'reclaim_first'} or denials.queued(charged, growth)
end

-- Charges the growth, or returns the denial.
local function refuse(call, record, charged, after)
  if after.grows and call.pool.grace_ms then recovery.check(call) end
  if after.grows and call.pool.recovering then return recovery.refusal(call) end
  local list, held = after.list, after.held
  local reply = after.grows and queue(call, record, charged, after)
  if reply then return reply end
  local short = accounts.take(charged, list, held)
  if not short then return nil end
  reply = denials.reply(charged, list, held)
  if reply[2] ~= 'capacity_exceeded' then return reply end
  if not expiry.make_room(call, limits.RECLAIM_INLINE_MAX, charged, list, held) then return nil end
  return call.more_expired and {'reclaim_first'} or denials.reply(charged, list, held)
end

-- Checks that every charged account has the record's amounts, and exact counters for the new ones.
local function check_charge(charged, record, list)
  for i = 1, #charged do
    local account = charged[i]
    local covers = accounts.covers(account, record.list)
    local exact = accounts.read(account, list)
    if not covers or not exact then
      error({err = 'INVARIANT allocation ' .. record.id .. ' took more than its account has allocated'})
    end
  end
end

local function resize(call, item, record, charged, after)
  if #after.list == 0 then return {'empty'} end
  if #after.list > 2 * limits.RESOURCES_MAX then return {'too_many'} end
  local reply = refuse(call, record, charged, after)
  if reply then return reply end
  line.pass(call, after.ahead, charged, after.list)
  call.freed = true
  if after.gone[1] then accounts.add_all(charged, after.gone, -1, {}) end
  records.edit(call, record)
  record.stored_list, record.list = record.list, after.list
  if record.share then
    shares.change(call, record)
  elseif call.pool.weights then
    shares.catch_up(call, record)
  end
  pools.next_revision(call)
  events.add(call, 'resized', record.id, record)
  local id = item.call
  idempotency.complete(call, id)
  return records.reply(call, 'resized', record)
end

local function decide(call, item)
  local key, id = item.key, item.call
  local record = records.of_item(call, key)
  if not record then return {'unknown'} end
  call.resized = record
  local completed_ms = idempotency.completed_at(call, id)
  local word = completed_ms and idempotency.was_told(call, item.call, REFUSED)
  if word and word ~= 'denied' then return {word} end
  if item.fence ~= 0 and item.fence ~= record.fence then return {'fenced', record.fence} end
  if completed_ms and not word then
    -- Written again, so that the caller can wait for replicas to receive it.
    records.edit(call, record)
    record.touched = true
    return records.reply(call, 'resized', record)
  end
  local charged = record.accounts and accounts.charged(call, record.accounts, record.list) or {call.pool}
  check_charge(charged, record, item.list)
  local after = wanted(record, item)
  if word then return denials.reply(charged, after.list, after.held, nil, true) end
  return resize(call, item, record, charged, after)
end

return function(call)
  -- Read
  clock.start(call)
  local items = arguments.items(call, read_item)
  if #items ~= 1 then error({err = 'CONTRACT items is no list of one'}) end
  local item = items[1]
  local fields = pools.fields('resized_count')
  local counted, count, list, key = {}, pools.FIELDS, item.list, item.key
  for i = 1, #list, 2 do
    local field = list[i]
    count = accounts.want(fields, count, counted, field)
  end
  local record = records.of_item(call, key)
  list = record and record.list or {}
  for i = 1, #list, 2 do
    local field = list[i]
    if not counted[field] then count = accounts.want(fields, count, counted, field) end
  end
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
