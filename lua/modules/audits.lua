-- audits: compares records with their indexes, sums their amounts, and collects findings.
-- A finding may include the change that corrects it; `audit` only reports, `repair` plans these changes.
-- call.audit = {revision, sums, records, fields, findings, total, mends, fences, ids, scores, shares}; `sums` by
-- account name, then by field; `scores` by id, in the index of priorities; `shares` by the scope that counts, '' the
-- pool.
local limits = require('limits')
local numbers = require('numbers')
local priorities = require('priorities')
local quotas = require('quotas')
local records = require('records')
local transaction = require('transaction')
local units = require('units')

local audits = {}

function audits.open(call, revision)
  call.audit = {
    revision = revision, sums = {}, records = 0, fields = 0, findings = {}, total = 0, mends = {}, fences = {},
    ids = {}, scores = {}, shares = {},
  }
end

function audits.report(call, kind, subject, detail, mend, target)
  local audit = call.audit
  audit.total = audit.total + 1
  if audit.total <= limits.FINDINGS_MAX then
    local findings, n = audit.findings, #audit.findings
    findings[n + 1], findings[n + 2], findings[n + 3] = kind, subject, detail
  end
  if mend and #audit.mends < limits.MENDS_MAX then
    audit.mends[#audit.mends + 1] = {mend, target, kind .. ': ' .. detail, subject}
  end
end

local function add_up(sums, record)
  local list = record.list
  for i = 1, #list, 2 do sums[list[i]] = (sums[list[i]] or 0) + list[i + 1] end
end

local function count(call, record)
  local audit = call.audit
  audit.records = audit.records + 1
  audit.fields = audit.fields + #record.list / 2
  audit.sums[''] = audit.sums[''] or {}
  add_up(audit.sums[''], record)
  local sharer = record.share_of or ''
  if record.share then audit.shares[sharer] = (audit.shares[sharer] or 0) + record.share end
  for i = 1, record.accounts and #record.accounts or 0 do
    local name = record.accounts[i]
    local sums = audit.sums[name] or {}
    audit.sums[name] = sums
    add_up(sums, record)
    if quotas.is_one(name) then sums[quotas.ALLOCATIONS] = (sums[quotas.ALLOCATIONS] or 0) + quotas.ONE end
  end
end

-- The corrections.  Each takes {id, key, index, ...} as `target`.
local function remove_entry(call, target)
  transaction.plan(call, target.index == call.deadlines and 'old_deadlines' or 'old_pinned', target.id)
end

local function remove_whole(call, target)
  transaction.plan(call, 'old_deadlines', target.id)
  transaction.plan(call, 'old_pinned', target.id)
  transaction.plan(call, 'unlinks', target.key)
end

local function move_entry(call, target)
  local index, score = records.index_entry(call, target.record)
  local leased = index == call.deadlines
  transaction.plan(call, leased and 'new_deadlines' or 'new_pinned', score, target.id)
  transaction.plan(call, leased and 'old_pinned' or 'old_deadlines', target.id)
end

local function index_again(call, target)
  local index, score = records.index_entry(call, target.record)
  transaction.plan(call, index == call.deadlines and 'new_deadlines' or 'new_pinned', score, target.id)
  if call.pool.preempts then transaction.plan(call, 'new_ranks', priorities.score(target.record), target.id) end
end

-- Gives a record that would live beyond its hard end that end as its deadline.
local function cut_deadline(call, target)
  local record, ends_ms = target.record, target.record.ends_ms
  record.deadline_ms = ends_ms
  transaction.plan(call, 'counters', {key = target.key, field = 'deadline_ms', sum = ends_ms})
  if not record.ttl_ms then
    local ttl_ms = math.max(ends_ms - record.granted_ms, 0)
    transaction.plan(call, 'counters', {key = target.key, field = 'ttl_ms', sum = ttl_ms})
  end
  transaction.plan(call, 'new_deadlines', ends_ms, target.id)
  transaction.plan(call, 'old_pinned', target.id)
end

local function unlink(call, target)
  transaction.plan(call, 'unlinks', target.key)
end

local function persist(call, target)
  transaction.plan(call, 'persists', target.key)
end

local function inspect_record(call, record, target)
  if redis.call('PTTL', target.key) >= 0 then
    audits.report(call, 'expiring_record', target.id, 'the key would vanish by itself', persist, target)
  end
  local fence = string.format('%.0f', record.fence)
  if record.fence > call.audit.revision then audits.report(call, 'fence_ahead', target.id, fence) end
  if call.audit.fences[fence] then audits.report(call, 'fence_twice', target.id, fence) end
  call.audit.fences[fence] = true
end

-- Inspects one entry of an index.
function audits.inspect(call, index, id, score)
  local key = records.key(call, id)
  local record = records.at_id(call, id)
  local target = {id = id, key = key, index = index, record = record}
  call.audit.ids[#call.audit.ids + 1] = id
  call.audit.fields = call.audit.fields + limits.RECORD_FIELDS
  if not record then
    audits.report(call, 'missing_record', id, 'indexed, and not there', remove_entry, target)
    return
  end
  if record.broken then
    audits.report(call, 'broken_record', id, record.broken, remove_whole, target)
    return
  end
  call.audit.scores[id] = priorities.score(record)
  local deadline_ms, ends_ms = record.deadline_ms, record.ends_ms
  if ends_ms and (not deadline_ms or deadline_ms > ends_ms) then
    local detail = deadline_ms and string.format('deadline %.0f, hard end %.0f', deadline_ms, ends_ms) or 'no deadline'
    audits.report(call, 'beyond_end', id, detail, cut_deadline, target)
  end
  local right, right_score = records.index_entry(call, record)
  if index ~= right then
    local twice = redis.call('ZSCORE', right, id)
    local kind = twice and 'indexed_twice' or 'wrong_index'
    audits.report(call, kind, id, 'the record says otherwise', move_entry, target)
    if twice then return end
  elseif score ~= right_score then
    local detail = string.format('index %.0f, record %.0f', score, right_score)
    audits.report(call, 'wrong_instant', id, detail, move_entry, target)
  end
  inspect_record(call, record, target)
  count(call, record)
end

-- Inspects the entries of an index: (id, score)*.  With `bounded`, returns true if the records have more fields than
-- one call may read.
function audits.walk(call, index, entries, bounded)
  for i = 1, #entries, 2 do
    audits.inspect(call, index, entries[i], tonumber(entries[i + 1]))
    if bounded and call.audit.fields > limits.AUDIT_FIELDS_MAX then return true end
  end
  return false
end

-- Inspects all records; returns their number instead if they are too many.
function audits.walk_all(call)
  local found = redis.call('ZCARD', call.deadlines) + redis.call('ZCARD', call.pinned)
  if found > limits.AUDIT_RECORDS_MAX
    or audits.walk(call, call.deadlines, redis.call('ZRANGE', call.deadlines, 0, -1, 'WITHSCORES'), true)
    or audits.walk(call, call.pinned, redis.call('ZRANGE', call.pinned, 0, -1, 'WITHSCORES'), true) then
    return found
  end
  return nil
end

-- A record without an index entry.  A complete one has a holder, so it is indexed again.
function audits.orphan(call, key, counted)
  local id, record = records.id(call, key), records.read(call, key)
  if not record or redis.call('ZSCORE', call.deadlines, id) or redis.call('ZSCORE', call.pinned, id) then return end
  local whole = not record.broken
  for i = 1, #record.list, 2 do whole = whole and counted[record.list[i]] end
  local detail = whole and 'in no index' or record.broken or 'of a resource not counted'
  local target = {id = id, key = key, record = record}
  audits.report(call, 'orphan_record', id, detail, whole and index_again or unlink, target)
  if whole then count(call, record) end
end

-- The sums that the records charge to the pool, as a reply: {resource, sum, ...}.
function audits.sums(call)
  local flat, n = {}, 0
  for field, sum in pairs(call.audit.sums[''] or {}) do
    flat[n + 1], flat[n + 2] = string.sub(field, 1, -11), sum
    n = n + 2
  end
  return flat
end

local function difference(stored, sum)
  local exact = tonumber(stored)
  if exact == sum then return nil end
  local was = exact and string.format('%.0f', exact) or 'no amount'
  return 'allocated ' .. was .. string.format(', records %.0f', sum)
end

local function set_counter(call, target)
  transaction.plan(call, 'counters', target)
end

-- Compares the pool's counters with the sums over the records.  `counted`: the fields of its resources.
function audits.recount(call, counted, allocated, sums)
  for field in pairs(counted) do
    local sum = sums[field] or 0
    local detail = difference(allocated[field], sum)
    if detail then
      local target = {key = call.key, field = field, sum = sum}
      audits.report(call, 'drift', string.sub(field, 1, -11), detail, set_counter, target)
    end
  end
end

-- Compares what the pool gives out of each resource with its total and its units, unless these are broken: then nobody
-- knows what is reserved.  `stored`: the fields of the pool.
function audits.compare_limits(call, stored)
  local option = units.among(stored.options or '') or ''
  local rules = units.parse(option)
  local readable = units.text(rules) == option
  for field, text in pairs(readable and stored or {}) do
    local name = string.match(field, '^(.+)%.total$')
    local total, was = name and numbers.exact(text), name and numbers.exact(stored[name .. '.capacity'])
    local limit = total and units.limit(total, rules[name])
    if limit and was and limit ~= was then
      local detail = string.format('gives out %.0f, its units say %.0f', was, limit)
      local target = {key = call.key, field = name .. '.capacity', sum = limit}
      audits.report(call, 'limit_drift', name, detail, set_counter, target)
    end
  end
end

-- Compares the counters of an account beyond the pool with the sums that records charge to it.
local function recount_account(call, name, sums)
  local key = string.sub(call.key, 1, -5) .. name
  local flat, stored = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do
    local field = flat[i]
    stored[field] = flat[i + 1]
    if string.sub(field, -10) == '.allocated' then sums[field] = sums[field] or 0 end
  end
  for field, sum in pairs(stored.generation and sums or {}) do
    local detail = difference(stored[field], sum)
    if detail then
      local text = string.sub(field, 1, -11) .. ': ' .. detail
      audits.report(call, 'account_drift', name, text, set_counter, {key = key, field = field, sum = sum})
    end
  end
end

-- Compares what an account keeps for the scopes below it with what is guaranteed to them and not used.
local function compare_kept(call, key, subject, stored, kept)
  for name, sum in pairs(kept) do
    local was = tonumber(stored[name .. '.kept'] or 0)
    if was ~= sum then
      local shown = was and string.format('%.0f', was) or 'no amount'
      local detail = name .. ': kept ' .. shown .. string.format(', guarantees %.0f', sum)
      audits.report(call, 'kept_drift', subject, detail, set_counter, {key = key, field = name .. '.kept', sum = sum})
    end
  end
end

local function as_table(flat)
  local stored = {}
  for i = 1, #flat, 2 do stored[flat[i]] = flat[i + 1] end
  return stored
end

-- Adds what a scope's parent has to keep for it.
local function pass_on(keeps, parent, stored, own, sums)
  for field, text in pairs(stored) do
    local name = string.match(field, '^(.+)%.nominal$')
    local kept = name and own[name] or 0
    local lending, share = name and tonumber(stored[name .. '.lending_limit']), tonumber(text)
    local used = name and (sums[name .. '.allocated'] or 0) + kept
    local unused = lending and share and math.max(0, math.max(0, share - lending) - used) or 0
    if name and kept + unused > 0 then
      keeps[parent] = keeps[parent] or {}
      keeps[parent][name] = (keeps[parent][name] or 0) + kept + unused
    end
  end
end

-- Compares what is kept for scopes, from the innermost to the pool: a scope is listed after those above it.
local function recount_kept(call)
  local index, keeps = redis.call('ZRANGE', quotas.index(call), 0, limits.QUOTAS_MAX), {}
  for i = #index, 1, -1 do
    local scope = index[i]
    local key = string.sub(call.key, 1, -5) .. 'quota:' .. scope
    local stored, own = as_table(redis.call('HGETALL', key)), keeps[scope] or {}
    for field in pairs(stored) do
      local name = string.match(field, '^(.+)%.kept$')
      if name then own[name] = own[name] or 0 end
    end
    local sums = call.audit.sums['quota:' .. scope] or {}
    call.audit.sums['quota:' .. scope] = sums
    compare_kept(call, key, 'quota:' .. scope, stored, own)
    pass_on(keeps, string.match(scope, '^(.+)/') or '', stored, own, sums)
  end
  local stored, own = as_table(redis.call('HGETALL', call.key)), keeps[''] or {}
  for field in pairs(stored) do
    local name = string.match(field, '^(.+)%.kept$')
    if name then own[name] = own[name] or 0 end
  end
  own.allocations = nil
  compare_kept(call, call.key, 'pool', stored, own)
end

-- Compares the counters of all accounts beyond the pool, and what is kept for scopes.
function audits.recount_accounts(call)
  recount_kept(call)
  for name, sums in pairs(call.audit.sums) do
    if name ~= '' then recount_account(call, name, sums) end
  end
end

return audits
