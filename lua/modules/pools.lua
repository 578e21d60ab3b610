-- pools: the state of the pool, apart from its counters: epoch, revision, schema, options, recovery.
-- call.pool = {epoch, state, revision, read_revision, the fields of an account (`accounts`), and the options
-- max_ttl_ms, max_lifetime_ms, durability, grace_ms, recovering, run_id, keeps, waits, preempts, preempt_grace_ms,
-- preempt_protect_ms, scope, needs_scope, bounds, weights, half_life_ms}; of its past (`history`): history_ms, and the
-- counter that this call has read: its field, its text, and its new number
-- `revision` grows with every change; it is the fence of a grant.  `recovering`: the instant until which nothing is
-- granted.  `keeps`: it keeps something for scopes (`quotas`).  `waits`: somebody waits in line (`line`).  `weights`:
-- so many scopes have a weight, or nil (`shares`).
local accounts = require('accounts')
local clock = require('clock')
local limits = require('limits')
local numbers = require('numbers')
local units = require('units')

local pools = {}

-- The number of state fields that every call reads; the counters that it needs follow, in pairs (`accounts.want`).
pools.FIELDS = 10

-- The fields to read; `accounts.want` adds counters, before `open`.  `counter`: which number of events is read too.
function pools.fields(counter)
  return {
    'revision', 'schema', 'state', 'whole_units', 'epoch', 'clock_ms', 'clock_offset_ms', 'options',
    'history_ms', counter or 'granted_count', false, false, false, false,
  }
end

-- Parses the pool's options beyond its resources.
local function read_options(call, pool, options)
  pool.options = options
  pool.max_ttl_ms = tonumber(string.match(options, 'max_ttl_ms=(%d+)'))
  pool.max_lifetime_ms = tonumber(string.match(options, 'max_lifetime_ms=(%d+)'))
  pool.durability = string.match(options, 'durability=(%S+)')
  pool.grace_ms = tonumber(string.match(options, 'recovery_grace_ms=(%d+)'))
  pool.keeps = string.find(options, 'keeps=1', 1, true)
  pool.preempts = string.find(options, 'preemption=1', 1, true)
  pool.preempt_grace_ms = tonumber(string.match(options, 'preempt_grace_ms=(%d+)'))
  pool.preempt_protect_ms = tonumber(string.match(options, 'preempt_protect_ms=(%d+)'))
  pool.waits = string.find(options, 'waits=1', 1, true)
  pool.weights = tonumber(string.match(options, 'weights=(%d+)'))
  pool.scope = string.match(options, 'default_scope=(%S+)')
  pool.needs_scope = string.find(options, 'requires_scope=1', 1, true)
  local rules = units.among(options)
  pool.bounds = rules and units.bounds(rules)
  if not pool.grace_ms then return end
  local found = redis.call('HMGET', call.key, 'recovering_until_ms', 'run_id')
  local until_ms = tonumber(found[1])
  pool.recovering, pool.run_id = until_ms and call.now < until_ms and until_ms, found[2] or ''
end

-- The state; `offline` ends after OFFLINE_MS, so that a killed repair does not block the pool for ever.
local function read_state(call, state)
  if state ~= 'offline' then return state end
  local until_ms = tonumber(redis.call('HGET', call.key, 'offline_until_ms'))
  return not (until_ms and call.now >= until_ms) and state
end

local function is_newer(text)
  local schema = tonumber(text)
  return not (schema and schema <= limits.SCHEMA)
end

local function broken_revision(call)
  error({err = 'INVARIANT ' .. call.key .. ' has no exact amount in revision'})
end

-- Reads the state, and the counters of `fields`, in one command.  `call.refused`: the reply word that refuses the call,
-- or false.  A newer schema refuses only calls that write; `reads`: this call does not.
function pools.open(call, fields, count, reads)
  local values = redis.call('HMGET', call.key, unpack(fields, 1, count))
  if call.by_server then
    local seen, now = tonumber(values[6]), call.now
    if values[7] or not seen or now < seen or now > seen + limits.CLOCK_SEEN_MS then
      clock.adjust(call, seen, values[7])
    end
  end
  local epoch = values[5] or ''
  local pool = {
    key = call.key, name = '', epoch = epoch, state = false, revision = 0, read_revision = 0, allocated = false,
    capacity = false, changed = false, history_ms = values[9], counter = fields[10], counted = values[10],
    new_count = false,
  }
  call.pool = pool
  if not values[1] then
    call.refused = 'unknown_pool'
    return
  end
  if call.epoch ~= '' and epoch ~= call.epoch then
    call.refused = 'other_epoch'
    return
  end
  if values[2] ~= limits.SCHEMA_TEXT and is_newer(values[2]) then call.refused = not reads and 'schema' end
  local revision = numbers.exact(values[1])
  if not revision and not call.refused then broken_revision(call) end
  revision = revision or 0
  pool.revision, pool.read_revision = revision, revision
  if count > pools.FIELDS then
    accounts.from_pool(call, fields, values, count)
  else
    pool.allocated, pool.capacity = {}, {}
  end
  if values[3] then pool.state = read_state(call, values[3]) end
  if values[4] then accounts.constrain(pool, values[4]) end
  if values[8] then read_options(call, pool, values[8]) end
  if pool.keeps then accounts.keep(call, fields, count) end
end

-- Reads the pool's state without counters.
function pools.open_state(call, reads)
  local fields = pools.fields()
  pools.open(call, fields, pools.FIELDS, reads)
end

-- For read-only scripts that need only the pool's identity: its epoch, or nil and a reply word.
function pools.identify(call, epoch)
  if not epoch then return nil, 'unknown_pool' end
  if call.epoch ~= '' and call.epoch ~= epoch then return nil, 'other_epoch' end
  return epoch, nil
end

-- Sets a field of the pool; it is written with this call's changes.
function pools.set(call, field, value)
  local sets = call.pool_sets or {}
  sets[#sets + 1], sets[#sets + 2] = field, value
  call.pool_sets = sets
end

-- Changes one option of the pool; '' removes it.
function pools.set_option(call, name, value)
  local parts = {}
  for part in string.gmatch(call.pool.options or '', '%S+') do
    if string.sub(part, 1, #name + 1) ~= name .. '=' then parts[#parts + 1] = part end
  end
  if value ~= '' then parts[#parts + 1] = name .. '=' .. value end
  call.pool.options = parts[1] and table.concat(parts, ' ')
  if parts[1] then pools.set(call, 'options', call.pool.options) else pools.drop(call, 'options') end
end

function pools.drop(call, field)
  local drops = call.pool_drops or {}
  drops[#drops + 1] = field
  call.pool_drops = drops
end

-- The next revision, which every change takes.
function pools.next_revision(call)
  local revision = call.pool.revision + 1
  call.pool.revision = revision
  return revision
end

return pools
