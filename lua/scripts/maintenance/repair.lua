#!lua flags=allow-oom
--[[
repair -- Correct what an audit found: indexes and records, then the counters.

Everything is checked again here, in the script that writes.  `all` corrects and counts in one call, up to
AUDIT_RECORDS_MAX records; above, `deadlines`, `pinned` and `priorities` correct one page each, and `totals` sets the
counters to sums that the caller took at `revision`, if nothing has changed since.

KEYS    records      keys    records without an index entry, at most FINDINGS_MAX
ARGV    items        list    of one (call, repeated, mode, cursor, revision, R, (resource, sum)*R)
Reply   per item {"repaired", cursor, total, kind, subject, detail, ...} | {"moved"} (the revision) | {"large", records}
        | {"unknown_pool"} | {"other_epoch"} | {"schema"}
Writes  pool, accounts, records, deadlines, pinned, ended, events
Cost    O(N * R)
]]
local arguments = require('arguments')
local audits = require('audits')
local clock = require('clock')
local events = require('events')
local idempotency = require('idempotency')
local limits = require('limits')
local line = require('line')
local line_audit = require('line_audit')
local pools = require('pools')
local priority_audit = require('priority_audit')
local quota_audit = require('quota_audit')
local share_audit = require('share_audit')
local transaction = require('transaction')

-- The pool's resources, and its counters: two tables by field.  Third result: all its fields.
local function read_counters(call)
  local flat, counted, allocated, stored = redis.call('HGETALL', call.key), {}, {}, {}
  for i = 1, #flat, 2 do
    local field = flat[i]
    stored[field] = flat[i + 1]
    if string.sub(field, -9) == '.capacity' then counted[string.sub(field, 1, -10) .. '.allocated'] = true end
    if string.sub(field, -10) == '.allocated' then allocated[field] = tonumber(flat[i + 1]) end
  end
  return counted, allocated, stored
end

local function inspect_orphans(call, counted)
  for i = 1, arguments.records(call) do audits.orphan(call, arguments.record(call, i), counted) end
end

local function all(call, counted, allocated)
  local large = audits.walk_all(call)
  if large then return {'large', large} end
  inspect_orphans(call, counted)
  audits.recount(call, counted, allocated, call.audit.sums[''] or {})
  audits.recount_accounts(call)
  priority_audit.all(call, call.pool.options)
  share_audit.all(call, call.pool.options)
  return nil
end

local function page(call, index, cursor, counted)
  local scan = redis.call('ZSCAN', index, cursor, 'COUNT', limits.PAGE_RECORDS_MAX)
  audits.walk(call, index, scan[2])
  priority_audit.page(call, call.pool.options)
  inspect_orphans(call, counted)
  return scan[1]
end

-- Plans the corrections, and an event for each that is reported.
local function plan(call, id)
  idempotency.complete(call, id)
  pools.next_revision(call)
  for i, mend in ipairs(call.audit.mends) do
    mend[1](call, mend[2])
    if i <= limits.FINDINGS_MAX then events.add(call, 'repaired', mend[4], nil, mend[3]) end
  end
end

local function decide(call, id, mode, cursor, taken)
  local counted, allocated, stored = read_counters(call)
  if mode ~= 'deadlines' and mode ~= 'priorities' and cursor == '0' then
    line_audit.walk(call, call.pool.options)
    quota_audit.walk(call)
  end
  if mode == 'totals' then
    if taken.revision ~= call.pool.revision then return {'moved'} end
    audits.recount(call, counted, allocated, taken.sums)
    audits.compare_limits(call, stored)
  elseif mode == 'all' then
    local large = all(call, counted, allocated)
    if large then return large end
    audits.compare_limits(call, stored)
    cursor = '0'
  elseif mode == 'priorities' then
    cursor = priority_audit.entries(call, call.pool.options, cursor, limits.PAGE_RECORDS_MAX)
  else
    cursor = page(call, mode == 'deadlines' and call.deadlines or call.pinned, cursor, counted)
  end
  local reply = {'repaired', cursor, call.audit.total}
  for i = 1, #call.audit.findings do reply[i + 3] = call.audit.findings[i] end
  if #call.audit.mends > 0 then
    plan(call, id)
    line.wake_first(call)
  end
  return reply
end

return function(call)
  -- Read
  clock.start(call)
  local id = arguments.text(call, 'call')
  arguments.flag(call, 'repeated')
  local mode, cursor = arguments.text(call, 'mode'), arguments.text(call, 'cursor')
  local taken = {revision = arguments.integer(call, 'revision'), sums = {}}
  local sums = arguments.list(call, arguments.integer(call, 'resources', limits.RESOURCES_MAX), 0)
  for i = 1, #sums, 2 do taken.sums[sums[i] .. '.allocated'] = sums[i + 1] end
  if arguments.records(call) > limits.FINDINGS_MAX then error({err = 'CONTRACT too many records'}) end
  arguments.finish(call, arguments.records(call))
  pools.open_state(call)
  if call.refused then return {{call.refused}} end
  audits.open(call, call.pool.revision)
  -- Decide
  local in_pages = mode == 'deadlines' or mode == 'pinned' or mode == 'priorities'
  if not in_pages and idempotency.completed_at(call, id) then return {{'repaired', '0', 0}} end
  local reply = decide(call, id, mode, cursor, taken)
  -- Write
  transaction.commit(call)
  return {reply}
end
