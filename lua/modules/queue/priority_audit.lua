-- priority_audit: compares the index of priorities with the live records, where a pool permits preemption.  A pool that
-- permits it later has records that are not in it: `repair` enters them.
local audits = require('audits')
local limits = require('limits')
local priorities = require('priorities')
local transaction = require('transaction')

local priority_audit = {}

-- The corrections.
local function rank(call, target)
  transaction.plan(call, 'new_ranks', target.score, target.id)
end

local function remove(call, target)
  transaction.plan(call, 'old_ranks', target.id)
end

local function permits(options)
  return string.find(options or '', 'preemption=1', 1, true)
end

-- Compares what the walk has inspected: a record's score in the index, or false.
local function compare(call, stored)
  for id, score in pairs(call.audit.scores) do
    local was = stored[id]
    if was == nil then was = tonumber(redis.call('ZSCORE', priorities.index(call), id) or nil) end
    if not was then
      audits.report(call, 'unranked', id, 'live, and not in the index of priorities', rank, {id = id, score = score})
    elseif was ~= score then
      local detail = string.format('index %.0f, record %.0f', was, score)
      audits.report(call, 'ranked_wrong', id, detail, rank, {id = id, score = score})
    end
  end
end

-- An entry of an id that is not live.
local function report_ended(call, id)
  audits.report(call, 'ranked_ended', id, 'in the index of priorities, and not live', remove, {id = id})
end

-- After a walk over all records.
function priority_audit.all(call, options)
  if not permits(options) then return end
  local index, stored = priorities.index(call), {}
  local ids = redis.call('ZRANGE', index, '0', limits.AUDIT_RECORDS_MAX, 'WITHSCORES')
  for i = 1, #ids, 2 do
    stored[ids[i]] = tonumber(ids[i + 1])
    if not call.audit.scores[ids[i]] then report_ended(call, ids[i]) end
  end
  compare(call, stored)
end

-- After a walk over one page of the records.
function priority_audit.page(call, options)
  if permits(options) then compare(call, {}) end
end

-- One page of the index itself.  Returns the next cursor.
function priority_audit.entries(call, options, cursor, count)
  if not permits(options) then return '0' end
  local scan = redis.call('ZSCAN', priorities.index(call), cursor, 'COUNT', count)
  for i = 1, #scan[2], 2 do
    local id = scan[2][i]
    if not redis.call('ZSCORE', call.deadlines, id) and not redis.call('ZSCORE', call.pinned, id) then
      report_ended(call, id)
    end
  end
  return scan[1]
end

return priority_audit
