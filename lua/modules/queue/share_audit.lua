-- share_audit: compares what scopes with a weight have of the pool with their records, and the number of these scopes
-- with what the pool knows.
local audits = require('audits')
local limits = require('limits')
local pools = require('pools')
local quotas = require('quotas')
local transaction = require('transaction')

local share_audit = {}

-- The corrections.
local function set_live(call, target)
  transaction.plan(call, 'counters', target)
end

local function set_weights(call, target)
  pools.set_option(call, 'weights', target.count > 0 and string.format('%.0f', target.count) or '')
end

-- Compares the sum of a sharer.  Whether it has a weight.
local function compare(call, name, key)
  local stored, sum = redis.call('HMGET', key, 'live_share', 'weight'), call.audit.shares[name] or 0
  local was = tonumber(stored[1] or 0)
  if was ~= sum then
    local detail = 'live share ' .. (was and string.format('%.0f', was) or 'no number')
    local target = {key = key, field = 'live_share', sum = sum}
    audits.report(call, 'share_drift', name == '' and 'pool' or 'quota:' .. name,
      detail .. string.format(', records %.0f', sum), set_live, target)
  end
  return stored[2]
end

-- After a walk over all records.  `options`: the pool's.
function share_audit.all(call, options)
  local known = tonumber(string.match(options or '', 'weights=(%d+)')) or 0
  if known == 0 and not next(call.audit.shares) and not redis.call('HGET', call.key, 'live_share') then return end
  local count = 0
  compare(call, '', call.key)
  for _, scope in ipairs(redis.call('ZRANGE', quotas.index(call), 0, limits.QUOTAS_MAX)) do
    if compare(call, scope, string.sub(call.key, 1, -5) .. 'quota:' .. scope) then count = count + 1 end
  end
  if count ~= known then
    local detail = string.format('%.0f scopes have one, the pool says %.0f', count, known)
    audits.report(call, 'weights_drift', 'pool', detail, set_weights, {count = count})
  end
end

return share_audit
