#!lua flags=allow-oom
--[[
adopt -- Record allocations again that the server has lost, also above the capacity, as they are in use.

Only while the pool recovers and for its epoch, so that a stale holder cannot take what was granted to others.  An
operator may force it with a reason.  A live allocation is returned, with a deadline of at least now + ttl.  A hard end
cuts the deadlines, and after it nothing is adopted.

KEYS    records      keys    one for each item
ARGV    reason       text    the reason of an operator who forces it, else ''
        items        list    of (call, repeated, epoch, owner, fence, granted_ms, ttl_ms, scope, ends_ms, priority, R,
                             M, (field, amount)*R, (field, value)*M): epoch, owner, fence, granted_ms, scope, ends_ms
                             and priority as granted; ttl_ms 0 pins; ends_ms 0: no hard end; a scope that the
                             server has lost is made again, without limits
Reply   per item {"adopted", field, value, ...} (with the fields epoch and durability)
        | {"existing", field, value, ...} | {"conflict", field, value, ...} (other amounts, or another owner's)
        | {"fenced", fence} (granted anew since) | {"wrong_epoch"} | {"ended", ended_ms}
        | {"over", ends_ms} (the hard end has been reached) | {"not_recovering"} | {"not_counted", resource}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"offline"} | {"deleting"}
Writes  pool, accounts, quotas, records, deadlines, pinned, ended, events
Cost    O(I * (R + log N)): I items, R resources, N live
]]
local accounts = require('accounts')
local arguments = require('arguments')
local claims = require('claims')
local clock = require('clock')
local events = require('events')
local idempotency = require('idempotency')
local limits = require('limits')
local line = require('line')
local line_entries = require('line_entries')
local pools = require('pools')
local quotas = require('quotas')
local records = require('records')
local recovery = require('recovery')
local removals = require('removals')
local requests = require('requests')
local shares = require('shares')
local transaction = require('transaction')

local function read_item(call)
  local item = {
    epoch = arguments.text(call, 'epoch'), owner = arguments.text(call, 'owner'),
    fence = arguments.integer(call, 'fence'), granted_ms = arguments.integer(call, 'granted_ms'),
    ask_ms = arguments.integer(call, 'ttl_ms'), scope = arguments.text(call, 'scope'),
  }
  local ends_ms, priority = arguments.integer(call, 'ends_ms'), arguments.signed(call, 'priority', limits.PRIORITY_MAX)
  item.ends_ms, item.priority = ends_ms > 0 and ends_ms or nil, priority ~= 0 and priority or nil
  if item.scope == '' then item.scope = nil end
  local count = arguments.integer(call, 'resources', limits.RESOURCES_MAX)
  local metadata = arguments.integer(call, 'metadata', limits.METADATA_ENTRIES_MAX)
  if count < 1 then arguments.refuse('resources') end
  item.list = arguments.list(call, count, 1)
  item.meta = {}
  for i = 1, 2 * metadata do item.meta[i] = arguments.text(call, 'metadata') end
  return item
end

-- It was granted from the line, and the server has lost that its caller asked for it: its time to live is the holder's.
local function claim(call, record, ttl_ms)
  record.unclaimed_ttl_ms = nil
  if record.releasing_ms or not record.deadline_ms then return end
  if ttl_ms > 0 then
    record.ttl_ms = ttl_ms
    return
  end
  record.ttl_ms, record.deadline_ms, record.gap_ms = nil, nil, nil
  pools.next_revision(call)
end

-- The same grant is live: extends it.
local function extend(call, item, record)
  item.accounts, item.scope = record.accounts, nil
  if records.is_over(call, record) then return {'over', record.ends_ms} end
  if not requests.matches(item, record) then return records.reply(call, 'conflict', record) end
  records.edit(call, record)
  local ttl_ms = records.lasting(call, item.ask_ms, record.ends_ms)
  local deadline_ms = ttl_ms > 0 and records.cut(call.now + ttl_ms, record.ends_ms)
  if record.unclaimed_ttl_ms then claim(call, record, ttl_ms) end
  if record.deadline_ms and deadline_ms and deadline_ms > record.deadline_ms and not record.releasing_ms then
    record.deadline_ms, record.gap_ms = deadline_ms, nil
  end
  claims.add_holder(record)
  claims.set_deadlines(record)
  record.asserted_ms, record.touched = call.now, true
  return records.reply(call, 'existing', record)
end

-- Drops an allocation that was adopted in this call and ended by a later item: it is not written.
local function forget_fresh(call, record)
  for i = 1, #call.fresh do
    if call.fresh[i] == record then
      table.remove(call.fresh, i)
      return
    end
  end
end

local function charge(call, item)
  if not item.scope then
    accounts.add(call.pool, item.list, 1)
    return
  end
  local charged, names = quotas.chain(call, item.scope, item.list), {}
  for n = 1, charged.levels do names[n] = charged[n].name end
  item.accounts = names
  accounts.add_all(charged, item.list, 1)
end

-- Sets the time to live and the deadline of a record that is made again.
local function set_deadline(call, item)
  local ends_ms = item.ends_ms
  local ttl_ms = records.lasting(call, item.ask_ms, ends_ms)
  if ttl_ms > 0 then item.ttl_ms, item.deadline_ms = ttl_ms, records.cut(call.now + ttl_ms, ends_ms) end
  if ends_ms then item.asserted_ms = call.now end
end

-- Nobody waits for an id that is live.
local function leave_line(call, item)
  local waiter = call.pool.waits and line_entries.at_record(call, item.key)
  if not waiter then return end
  line_entries.leave(call, waiter, 'its id is adopted')
  call.freed = true
end

local function adopt(call, item, reason)
  local record, pool, forced = call.records[item.key], call.pool, reason ~= ''
  local completed_ms = idempotency.completed_at(call, item.call)
    or not forced and idempotency.completed_at(call, idempotency.fence_mark(item.fence))
  if completed_ms then return {'ended', completed_ms} end
  if not forced then
    recovery.check(call, item.epoch, item.fence)
    if not pool.recovering then return {'not_recovering'} end
  end
  recovery.check_fence(call, item.fence)
  if records.is_over(call, item) then return {'over', item.ends_ms} end
  local missing = accounts.not_counted(call.pool, item.list)
  if missing then return {'not_counted', missing} end
  if record then
    removals.plan(call, record, 'reclaimed', 'a later grant is adopted')
    if record.fresh then forget_fresh(call, record) end
  end
  leave_line(call, item)
  -- Also above the capacity; but not beyond exact integers, or no release could be counted.
  charge(call, item)
  if pool.weights then shares.charge(call, item, item.accounts) end
  for i = 1, #item.list, 2 do
    if pool.allocated[item.list[i]] > limits.AMOUNT_MAX then arguments.refuse('amount') end
  end
  pool.revision = math.max(pool.revision + 1, item.fence)
  -- A fence of another epoch may belong to another grant here.
  if item.epoch ~= pool.epoch then item.fence = pool.revision end
  set_deadline(call, item)
  idempotency.complete(call, item.call)
  item.id, item.call, item.fresh = records.id(call, item.key), '*', true
  call.records[item.key] = item
  call.fresh = call.fresh or {}
  call.fresh[#call.fresh + 1] = item
  events.add(call, 'adopted', item.id, item, forced and reason or 'recovering')
  return records.reply(call, 'adopted', item)
end

local function decide(call, item, reason)
  local pool = call.pool
  if call.refused or pool.state then return {call.refused or pool.state} end
  local record, same_epoch = records.of_item(call, item.key), item.epoch == pool.epoch
  if not same_epoch and reason == '' then return {'wrong_epoch'} end
  if record and (same_epoch and record.fence == item.fence or not same_epoch and requests.matches(item, record)) then
    return extend(call, item, record)
  end
  if record and (record.fence > item.fence or not same_epoch) then return {'fenced', record.fence} end
  return adopt(call, item, reason)
end

return function(call)
  -- Read
  clock.start(call)
  local reason = arguments.text(call, 'reason')
  local items = arguments.items(call, read_item)
  pools.open_state(call)
  -- Decide
  local replies = {}
  for i = 1, #items do replies[i] = decide(call, items[i], reason) end
  line.finish(call)
  -- Write
  transaction.commit(call)
  return replies
end
