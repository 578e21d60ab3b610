-- quota_audit: compares what each quota stores beside its limits with what follows from them: the most that it may
-- have, what is promised to the scopes below it, and whether it is plain (`quotas`).  A wrong one grants too much.
-- An account here is {key, name, flat, stored, promised}: `stored` its fields, `flat` the same alternating with their
-- values, `promised` the sum over the scopes directly below it, by resource.
local audits = require('audits')
local limits = require('limits')
local numbers = require('numbers')
local pools = require('pools')
local quotas = require('quotas')
local transaction = require('transaction')

local quota_audit = {}

-- The corrections.
local function correct(call, target)
  if target.sum then
    transaction.plan(call, 'counters', target)
  else
    transaction.plan(call, 'old_fields', target.key, target.field)
  end
end

local function mark_pool(call)
  pools.set_option(call, 'keeps', '1')
end

local function compare(call, account, kind, field, right)
  local stored = account.stored[field]
  local was = numbers.exact(stored)
  if was == right and (was or not stored) then return end
  local detail = field .. ' ' .. (was and string.format('%.0f', was) or stored and 'no amount' or 'absent')
  detail = detail .. ', by the limits ' .. (right and string.format('%.0f', right) or 'absent')
  audits.report(call, kind, account.name, detail, correct, {key = account.key, field = field, sum = right})
end

-- The resources that an account has limits or promises of, or stores something that follows from one.
local function resources_of(account)
  local names, known = {}, {}
  for field in pairs(account.stored) do
    local name, part = string.match(field, '^(.+)%.([%l_]+)$')
    if name and not known[name] and part ~= 'allocated' and part ~= 'kept' then
      known[name], names[#names + 1] = true, name
    end
  end
  for name in pairs(account.promised) do
    if not known[name] then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- The limits of a resource.  Without a second result one of them is no amount, and nothing follows.
local function limits_of(account, name)
  local found = {}
  for part in string.gmatch('nominal borrowing_limit lending_limit', '%S+') do
    local text = account.stored[name .. '.' .. part]
    found[part] = text and numbers.exact(text)
    if text and not found[part] then return name .. '.' .. part, nil end
  end
  return nil, found
end

local function compare_promised(call, account, name)
  if account.promised[name] or (account.stored[name .. '.guaranteed'] or '0') ~= '0' then
    compare(call, account, 'guarantee_drift', name .. '.guaranteed', account.promised[name] or 0)
  end
end

-- Compares what follows from the limits of a resource.  Returns what the account above has to promise for it.
local function inspect(call, account, name, is_certain)
  local broken, found = limits_of(account, name)
  if not found then
    audits.report(call, 'quota_drift', account.name, broken .. ' is no amount')
    return nil
  end
  local nominal, lending = found.nominal or 0, found.lending_limit
  compare(call, account, 'quota_drift', name .. '.capacity', quotas.most(nominal, found.borrowing_limit))
  if is_certain then compare_promised(call, account, name) end
  return math.max(lending and nominal - lending or 0, account.promised[name] or 0)
end

local function compare_plain(call, account)
  local flat, n = {}, 0
  for i = 1, #account.flat, 2 do
    local field = account.flat[i]
    -- What is promised is known, and what is kept is a part of it.
    if not string.find(field, '%.guaranteed$') and not string.find(field, '%.kept$') then
      flat[n + 1], flat[n + 2] = field, account.flat[i + 1]
      n = n + 2
    end
  end
  for name, sum in pairs(account.promised) do
    flat[n + 1], flat[n + 2] = name .. '.guaranteed', sum
    n = n + 2
  end
  local is_wrong = account.stored.plain == '1' and not quotas.is_plain(flat)
  if is_wrong then compare(call, account, 'quota_drift', 'plain', 0) end
end

local function read(key, name, promised)
  local flat, stored = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do stored[flat[i]] = flat[i + 1] end
  return {key = key, name = name, flat = flat, stored = stored, promised = promised or {}}
end

local function compare_pool(call, pool)
  local keeps = false
  for _, name in ipairs(resources_of(pool)) do
    compare_promised(call, pool, name)
    keeps = keeps or name ~= 'allocations' and (pool.promised[name] or 0) > 0
  end
  if keeps and not string.find(pool.stored.options or '', 'keeps=1', 1, true) then
    audits.report(call, 'guarantee_drift', 'pool', 'it does not know that it keeps something', mark_pool, {})
  end
end

-- Compares all quotas, from the innermost to the pool: a scope is listed after those above it.  Above a limit that is
-- no amount nobody knows what is promised.
function quota_audit.walk(call)
  local index = redis.call('ZRANGE', quotas.index(call), 0, limits.QUOTAS_MAX)
  local promises, known, is_certain = {}, {}, true
  for i = 1, #index do known[index[i]] = true end
  for i = #index, 1, -1 do
    local scope, parent = index[i], index[i]
    local account = read(string.sub(call.key, 1, -5) .. 'quota:' .. scope, 'quota:' .. scope, promises[scope])
    repeat parent = string.match(parent, '^(.+)/') or '' until parent == '' or known[parent]
    local sums = promises[parent] or {}
    promises[parent] = sums
    for _, name in ipairs(account.stored.generation and resources_of(account) or {}) do
      local sum = inspect(call, account, name, is_certain)
      is_certain = is_certain and sum ~= nil
      if sum and sum > 0 then sums[name] = (sums[name] or 0) + sum end
    end
    if account.stored.generation then compare_plain(call, account) end
  end
  if is_certain then compare_pool(call, read(call.key, 'pool', promises[''])) end
end

return quota_audit
