#!lua
--[[
configure_pool -- Create a pool if there is none, or change an existing one.

`create` never changes an existing pool.  A pool that is created with a recovery grace begins recovering, unless
`is_new`: the server may have lost a pool of that name whose holders are still active.  `change` merges the named
resources; one that is in use cannot be removed; lowering below what is allocated marks it overcommitted, or is refused
if `strict`.  The option `units` changes what the pool gives out of its capacity, and in which amounts (`units`).
`upgrade` raises `schema` to this version's.  `offline` refuses new grants during a repair, for at most OFFLINE_MS;
`online` permits them again.  `recover` creates a pool again that the server has lost, with its epoch, and
begins a recovery; `recovered` ends one.

ARGV    items        list    of one (call, repeated, mode, new_epoch, generation, strict, whole_units, options, floor,
                             is_new, R, (resource, capacity)*R, M, resource*M); the last M are removed;
                             generation 0: any; whole_units '-': unchanged; options: name=value, the named ones
                             change, one without a value is removed; floor: the least fence of a recovered pool
Reply   per item {"created", field, value, ...} | {"exists", field, value, ...} | {"configured", field, value, ...}
        | {"generation", generation} | {"in_use", resource, allocated} | {"too_many"} | {"no_resources"}
        | {"not_counted", resource} (to remove, whole, or of units)
        | {"guaranteed", resource, amount} (to scopes; not removed)
        | {"units", resource, flaw} (reserved: more than its capacity; limit: above AMOUNT_MAX; bounds: no amount)
        | {"pinned", live} (refuses a longest ttl)
        | {"deleted"} (on purpose: not recovered)
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"deleting"}
Writes  pool, ended, events
Cost    O(R)
]]
local arguments = require('arguments')
local clock = require('clock')
local events = require('events')
local idempotency = require('idempotency')
local limits = require('limits')
local line = require('line')
local numbers = require('numbers')
local pools = require('pools')
local priorities = require('priorities')
local recovery = require('recovery')
local transaction = require('transaction')
local units = require('units')

local function read_item(call)
  local item = {call = arguments.text(call, 'call'), repeated = arguments.flag(call, 'repeated')}
  item.mode, item.new_epoch = arguments.text(call, 'mode'), arguments.text(call, 'new_epoch')
  item.generation, item.strict = arguments.integer(call, 'generation'), arguments.flag(call, 'strict')
  item.whole_units, item.options = arguments.text(call, 'whole_units'), arguments.text(call, 'options')
  item.floor, item.is_new = arguments.integer(call, 'floor'), arguments.flag(call, 'is_new')
  local count = arguments.integer(call, 'resources', limits.RESOURCES_MAX)
  item.list = arguments.list(call, count, 0)
  item.removed = {}
  for i = 1, arguments.integer(call, 'removed', limits.RESOURCES_MAX) do
    item.removed[i] = arguments.text(call, 'removed')
  end
  arguments.finish(call, 0)
  return item
end

local function pool_as(call, word)
  local reply = {word}
  for i, value in ipairs(redis.call('HGETALL', call.key)) do reply[i + 1] = value end
  return reply
end

local function allocated_of(call, name)
  local allocated = redis.call('HGET', call.key, name .. '.allocated') or '0'
  return tonumber(allocated) or error({err = 'INVARIANT the account has no exact amount in ' .. name .. '.allocated'})
end

-- The resources that the pool counts; second result: their totals where units are set, as text.
local function read_counted(stored)
  local counted, totals = {}, {}
  for i = 1, #stored, 2 do
    if string.sub(stored[i], -9) == '.capacity' then counted[string.sub(stored[i], 1, -10)] = stored[i + 1] end
    if string.sub(stored[i], -6) == '.total' then totals[string.sub(stored[i], 1, -7)] = stored[i + 1] end
  end
  return counted, totals
end

local function remove(call, item, counted, dropped)
  for _, name in ipairs(item.removed) do
    if not counted[name] then return {'not_counted', name} end
    local allocated = allocated_of(call, name)
    if allocated > 0 then return {'in_use', name, allocated} end
    local guaranteed = tonumber(redis.call('HGET', call.key, name .. '.guaranteed') or 0)
    if guaranteed ~= 0 then return {'guaranteed', name, guaranteed or -1} end
    counted[name], dropped[name] = nil, true
    for _, ending in ipairs({'.capacity', '.allocated', '.total'}) do pools.drop(call, name .. ending) end
  end
  return nil
end

-- Sets what the pool has of a resource and gives out; a reply if it refuses the change.
local function set_capacity(call, item, name, total, had_total)
  local limit, rule = total, item.rules[name]
  if rule then
    local flaw = units.flaw(total, rule)
    if flaw then return {'units', name, flaw} end
    limit = units.limit(total, rule)
  end
  local allocated = allocated_of(call, name)
  if item.strict and limit < allocated then return {'in_use', name, allocated} end
  pools.set(call, name .. '.capacity', limit)
  if units.has_total(rule) then
    pools.set(call, name .. '.total', total)
  elseif had_total then
    pools.drop(call, name .. '.total')
  end
  return nil
end

-- Sets the capacities that change: those that are given, and those whose units change.
local function set_capacities(call, item, counted, totals)
  local named, given = units.change(item.rules, units.among(item.options)), {}
  for i = 1, #item.list, 2 do
    local name, total = item.list[i], item.list[i + 1]
    if not counted[name] then pools.set(call, name .. '.allocated', 0) end
    counted[name], given[name] = true, true
    local refusal = set_capacity(call, item, name, total, totals[name])
    if refusal then return refusal end
  end
  for _, name in ipairs(named) do
    if not counted[name] then return {'not_counted', name} end
    local total = not given[name] and numbers.exact(totals[name] or counted[name])
    if not given[name] and not total then
      error({err = 'INVARIANT the account has no exact amount in ' .. name .. '.capacity'})
    end
    local refusal = total and set_capacity(call, item, name, total, totals[name])
    if refusal then return refusal end
  end
  return nil
end

-- The resources that the pool will count, or nil and a reply that refuses the change.
local function merge(call, item, stored)
  local dropped, n = {}, 0
  local counted, totals = read_counted(stored)
  local refusal = remove(call, item, counted, dropped)
  if refusal then return nil, refusal end
  for i = 1, #item.list, 2 do
    if dropped[item.list[i]] then error({err = 'CONTRACT resource is both set and removed'}) end
  end
  item.rules = units.parse(units.among(call.pool.options or ''))
  for name in pairs(dropped) do item.rules[name] = nil end
  refusal = set_capacities(call, item, counted, totals)
  if refusal then return nil, refusal end
  for _ in pairs(counted) do n = n + 1 end
  if n == 0 then return nil, {'no_resources'} end
  if n > limits.RESOURCES_MAX then return nil, {'too_many'} end
  return counted, nil
end

-- Checks that the resources of whole units are counted by the pool.
local function constrain(call, item, counted)
  local whole_units = item.whole_units
  if whole_units == '-' then
    local kept = {}
    for name in string.gmatch(redis.call('HGET', call.key, 'whole_units') or '', '%S+') do
      if counted[name] then kept[#kept + 1] = name end
    end
    whole_units = table.concat(kept, ' ')
  end
  for name in string.gmatch(whole_units, '%S+') do
    if not counted[name] then return {'not_counted', name} end
  end
  if whole_units == '' then
    pools.drop(call, 'whole_units')
  else
    pools.set(call, 'whole_units', whole_units)
  end
  return nil
end

-- The changed options, with the units as they will be.
local function changes_of(call, item)
  local had, has = units.among(call.pool.options or '') or '', units.text(item.rules)
  local others = string.match(string.gsub(' ' .. item.options, ' units=%S*', ''), '^%s*(.*)$')
  return had == has and others or others .. ' units=' .. has
end

-- Merges the changed options into the pool's: returns the text, and the values by name.
local function merge_options(call, changes)
  local values, names, merged = {}, {}, {}
  for _, text in ipairs({call.pool.options or '', changes}) do
    for name, value in string.gmatch(text, '([%w_]+)=(%S*)') do
      if values[name] == nil then names[#names + 1] = name end
      values[name] = value
    end
  end
  for _, name in ipairs(names) do
    if values[name] ~= '' then merged[#merged + 1] = name .. '=' .. values[name] end
  end
  return table.concat(merged, ' '), values
end

-- Stores the server's run id when a pool gets a recovery grace.  From then on another server may mean lost data, so
-- later changes do not store it.  Grants of an existing pool that ended before are not among the completed calls.
local function store_run_id(call)
  local run_id = recovery.run_id(call)
  call.pool.run_id = run_id or ''
  pools.set(call, 'run_id', call.pool.run_id)
  if not call.refused then pools.set(call, 'ended_cut_ms', call.now_text) end
end

-- Sets the pool's options beyond its resources.
local function choose(call, changes)
  if changes == '' then return nil end
  local text, values = merge_options(call, changes)
  call.pool.options = text ~= '' and text or nil
  local bounded = string.find(changes, 'max_ttl_ms=%d') or string.find(changes, 'recovery_grace_ms=%d')
  local live = bounded and redis.call('ZCARD', call.pinned) or 0
  if live > 0 then return {'pinned', live} end
  if text == '' then
    pools.drop(call, 'options')
    return nil
  end
  pools.set(call, 'options', text)
  local had_grace = call.pool.grace_ms
  call.pool.grace_ms = tonumber(values.recovery_grace_ms)
  if call.pool.grace_ms and not had_grace then store_run_id(call) end
  return nil
end

local function shape(call, item, stored)
  local counted, refusal = merge(call, item, stored)
  return refusal or constrain(call, item, counted) or choose(call, changes_of(call, item))
end

local function create(call, item)
  local refusal = shape(call, item, {})
  if refusal then return refusal end
  local time, pool = redis.call('TIME'), call.pool
  local deleted = redis.call('ZSCORE', call.ended, 'deleted')
  call.refused = false
  pools.set(call, 'epoch', item.new_epoch)
  pools.set(call, 'generation', math.max(item.generation, 1))
  pools.set(call, 'schema', limits.SCHEMA)
  pools.set(call, 'created_ms', call.now_text)
  -- Microseconds of the server's clock, so that a pool that is created again repeats no fence.
  pool.revision = time[1] * 1000000 + time[2]
  recovery.check_fence(call, item.floor)
  pool.revision = math.max(pool.revision, item.floor)
  if item.mode == 'recover' then
    recovery.begin(call, 'the store has lost the pool', item.floor, false)
  elseif pool.grace_ms and not item.is_new and not deleted then
    recovery.begin(call, 'the pool was made, and the store may have lost an earlier one', 0, false)
  end
  return {'created'}
end

local function change(call, item)
  local known = tonumber(redis.call('HGET', call.key, 'generation'))
  if item.generation ~= 0 and item.generation ~= known then return {'generation', known} end
  local mode = item.mode
  if mode == 'change' then
    local refusal = shape(call, item, redis.call('HGETALL', call.key))
    if refusal then return refusal end
  elseif mode == 'upgrade' then
    pools.set(call, 'schema', math.max(limits.SCHEMA, tonumber(redis.call('HGET', call.key, 'schema'))))
  elseif mode == 'offline' then
    pools.set(call, 'state', 'offline')
    pools.set(call, 'offline_until_ms', call.now + limits.OFFLINE_MS)
  elseif mode == 'online' then
    call.pool_drops = {'state', 'offline_until_ms'}
  elseif mode == 'recovered' then
    call.pool_drops = {'recovering_until_ms', 'recovering_why'}
  else
    error({err = 'CONTRACT unknown mode'})
  end
  pools.set(call, 'generation', known + 1)
  pools.next_revision(call)
  return {'configured'}
end

local function decide_missing(call, item)
  if item.mode == 'recover' and redis.call('ZSCORE', call.ended, 'deleted') then return {'deleted'} end
  if item.mode ~= 'create' and item.mode ~= 'recover' then return {'unknown_pool'} end
  -- A late copy of a call that created a pool which was deleted since must not create another.
  return idempotency.completed_at(call, item.call) and {'unknown_pool'} or create(call, item)
end

local function decide(call, item)
  local mode, refused = item.mode, call.refused
  if refused == 'unknown_pool' then return decide_missing(call, item) end
  if refused and (mode ~= 'create' or refused ~= 'schema') then return {refused} end
  if call.pool.state == 'deleting' then return {'deleting'} end
  local epoch = call.pool.epoch
  if mode == 'create' then return pool_as(call, epoch == item.new_epoch and 'created' or 'exists') end
  if mode == 'recover' then return epoch == item.new_epoch and pool_as(call, 'exists') or {'other_epoch'} end
  if mode == 'online' and not redis.call('HGET', call.key, 'state') then return pool_as(call, 'configured') end
  if mode == 'recovered' and not call.pool.recovering then return pool_as(call, 'configured') end
  if not idempotency.completed_at(call, item.call) then return change(call, item) end
  if not idempotency.was_told(call, item.call, {'refused'}) then return pool_as(call, 'configured') end
  -- It was refused before and stays refused, whatever has changed since.
  local again = change(call, item)
  if again[1] ~= 'configured' then return again end
  return {'generation', tonumber(redis.call('HGET', call.key, 'generation'))}
end

-- Drops the plans of a refused change.
local function discard(call)
  call.pool_sets, call.pool_drops, call.planned_events = nil, nil, nil
  call.pool.revision = call.pool.read_revision
end

return function(call)
  -- Read
  clock.start(call)
  local item = read_item(call)
  pools.open_state(call)
  local missing = call.refused == 'unknown_pool'
  -- Decide
  local reply = decide(call, item)
  local word, sets = reply[1], call.pool_sets
  local changed = sets and (word == 'created' or word == 'configured')
  if not changed then discard(call) end
  if changed or item.repeated and not call.refused and item.mode == 'create' then
    idempotency.complete(call, item.call)
  elseif item.repeated and word ~= 'configured' and word ~= 'exists' then
    idempotency.complete_as(call, item.call, 'refused')
  end
  if changed then
    events.add(call, word == 'created' and 'created' or 'configured', nil, nil, item.mode)
    call.ended_stays = true
    if not missing then line.wake_first(call) end
    -- Nothing more enters the index of priorities.
    if call.pool.preempts and string.match(item.options, 'preemption=(%d*)') == '' then
      transaction.plan(call, 'unlinks', priorities.index(call))
    end
  end
  -- The completed calls of a missing pool expire, unless it is created.
  call.ended_expires = missing and not changed and call.completed ~= nil
  call.upkeep = changed or call.ended_expires
  -- Write
  transaction.commit(call)
  if changed then reply = pool_as(call, word) end
  return {reply}
end
