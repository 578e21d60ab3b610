#!lua
--[[
configure -- Create a pool where there is none, or change the one that is there.

`create` never changes an existing pool.  `change` merges the resources named; one that is in use cannot be removed;
lowering below what is allocated marks it overcommitted, unless `strict`.  `upgrade` raises `schema` to what this
version writes.  `offline` holds back new grants for a repair, at most OFFLINE_MS; `online` lets them through again.
`recover` makes a pool again that the store has lost, with its epoch, and begins a recovery; `recovered` ends one.

KEYS    pool         hash    the pool's account
        ended        zset    call id -> ended_ms
        events       stream
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        items        list    of one (call, repeated, mode, new_epoch, generation, strict, whole_units, options, floor,
                             R, (resource, capacity)*R, M, resource*M to remove);
                             generation 0: any; whole_units '-': as they are; options: name=value, those named
                             change, one without a value goes; floor: of a recovered pool's fences
Reply   per item {"created", field, value, ...} | {"exists", field, value, ...} | {"configured", field, value, ...}
        | {"generation", generation} | {"in_use", resource, allocated} | {"too_many"} | {"no_resources"}
        | {"not_counted", resource} (removed or whole, and not there) | {"pinned", live} (and a longest ttl is wanted)
        | {"deleted"} (on purpose: not recovered)
        | {"unknown_pool"} | {"other_epoch"} | {"schema"} | {"deleting"}
Writes  pool, ended, events
Cost    O(R)
]]
--@include args
--@include guard

local pool, ended, events = KEYS[1], KEYS[2], KEYS[3]
local now_ms, epoch = ARGV[1], ARGV[2]
local SUFFIX = '.capacity'

-- Read --------------------------------------------------------------------------------------------
--@include now
args.at = 2
local call, repeated, mode, new_epoch, generation, strict, whole_units, changes, floor, resources = args.take(10)
local names, capacities = args.amounts(resources)
local removed = {args.take(args.int(args.take(1), 'removed', schema.RESOURCES_MAX))}
generation, strict, floor = args.int(generation, 'generation'), strict == '1', args.int(floor, 'floor')
args.finish(3, 0)

local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
--@include account
--@include tombstones
--@include recovery

local function allocated_of(name)
  local allocated = redis.call('HGET', pool, name .. '.allocated') or '0'
  return tonumber(allocated) or error({err = 'INVARIANT the account has no exact amount in ' .. name .. '.allocated'})
end

local function pool_as(word)
  local reply = {word}
  for i, value in ipairs(redis.call('HGETALL', pool)) do reply[i + 1] = value end
  return reply
end

-- Decide ------------------------------------------------------------------------------------------
local sets, drops = {}, {}

local function set(field, value)
  sets[#sets + 1] = field
  sets[#sets + 1] = value
end

-- The resources that the pool will count, or a refusal.
local function merge(fields)
  local counted, dropped, n = {}, {}, 0
  for i = 1, #fields, 2 do
    if string.sub(fields[i], -9) == SUFFIX then counted[string.sub(fields[i], 1, -10)] = true end
  end
  for _, name in ipairs(removed) do
    if not counted[name] then return nil, {'not_counted', name} end
    local allocated = allocated_of(name)
    if allocated > 0 then return nil, {'in_use', name, allocated} end
    counted[name], dropped[name] = nil, true
    drops[#drops + 1] = name .. SUFFIX
    drops[#drops + 1] = name .. '.allocated'
  end
  for _, name in ipairs(names) do
    local allocated = allocated_of(name)
    if strict and capacities[name] < allocated then return nil, {'in_use', name, allocated} end
    if dropped[name] then error({err = 'CONTRACT resource is both set and removed'}) end
    if not counted[name] then set(name .. '.allocated', 0) end
    set(name .. SUFFIX, capacities[name])
    counted[name] = true
  end
  for _ in pairs(counted) do n = n + 1 end
  if n == 0 then return nil, {'no_resources'} end
  if n > schema.RESOURCES_MAX then return nil, {'too_many'} end
  return counted, nil
end

-- Whole units are named among the resources that are counted.
local function constrain(counted)
  if whole_units == '-' then
    local kept = {}
    for name in string.gmatch(redis.call('HGET', pool, 'whole_units') or '', '%S+') do
      if counted[name] then kept[#kept + 1] = name end
    end
    whole_units = table.concat(kept, ' ')
  end
  for name in string.gmatch(whole_units, '%S+') do
    if not counted[name] then return {'not_counted', name} end
  end
  if whole_units == '' then
    drops[#drops + 1] = 'whole_units'
  else
    set('whole_units', whole_units)
  end
  return nil
end

-- What the pool is given beyond its resources: the names that change, merged into those that it has.
local function choose()
  if changes == '' then return nil end
  local values, names_of, merged = {}, {}, {}
  for _, text in ipairs({options or '', changes}) do
    for name, value in string.gmatch(text, '([%w_]+)=(%S*)') do
      if values[name] == nil then names_of[#names_of + 1] = name end
      values[name] = value
    end
  end
  for _, name in ipairs(names_of) do
    if values[name] ~= '' then merged[#merged + 1] = name .. '=' .. values[name] end
  end
  local bounded = string.find(changes, 'max_ttl_ms=%d') or string.find(changes, 'recovery_grace_ms=%d')
  local live = bounded and redis.call('ZCARD', string.sub(pool, 1, -5) .. 'pinned') or 0
  if live > 0 then return {'pinned', live} end
  if #merged == 0 then
    drops[#drops + 1] = 'options'
    return nil
  end
  set('options', table.concat(merged, ' '))
  local was_guarded = grace_ms
  grace_ms = tonumber(values.recovery_grace_ms)
  if grace_ms and not was_guarded then
    -- From here on another server than this one means that data may be lost; whoever changes something else later must
    -- not make this the known one.
    local mark_epoch, mark_fence = '', 0
    stored_run = ''
    --@include alarm
    set('run_id', run_id or '')
  end
  return nil
end

local function shape(fields)
  local counted, refusal = merge(fields)
  return refusal or constrain(counted) or choose()
end

local function create()
  local refusal = shape({})
  if refusal then return refusal end
  local time = redis.call('TIME')
  set('epoch', new_epoch)
  set('generation', math.max(generation, 1))
  -- Microseconds of the server's clock: a pool that is made again repeats no fence.
  account.revision = time[1] * 1000000 + time[2]
  recovery.believe(floor)
  account.revision = math.max(account.revision, floor)
  if mode == 'recover' then recovery.begin('the store has lost the pool', floor, false) end
  set('revision', account.revision)
  set('schema', schema.VERSION)
  set('created_ms', now)
  if by_server then set('clock_ms', now) end
  return {'created'}
end

local function change()
  local known = tonumber(redis.call('HGET', pool, 'generation'))
  if generation ~= 0 and generation ~= known then return {'generation', known} end
  if mode == 'change' then
    local refusal = shape(redis.call('HGETALL', pool))
    if refusal then return refusal end
  elseif mode == 'upgrade' then
    set('schema', math.max(schema.VERSION, tonumber(redis.call('HGET', pool, 'schema'))))
  elseif mode == 'offline' then
    set('state', 'offline')
    set('offline_until_ms', now + schema.OFFLINE_MS)
  elseif mode == 'online' then
    drops = {'state', 'offline_until_ms'}
  elseif mode == 'recovered' then
    drops = {'recovering_until_ms', 'recovering_why'}
  else
    error({err = 'CONTRACT unknown mode'})
  end
  set('generation', known + 1)
  set('revision', account.revision + 1)
  return {'configured'}
end

local function settle()
  local deleted = refused == 'unknown_pool' and mode == 'recover' and redis.call('ZSCORE', ended, 'deleted')
  if deleted then return {'deleted'} end
  if refused == 'unknown_pool' and (mode == 'create' or mode == 'recover') then
    -- A copy of a call that made a pool which was deleted since must not make another.
    return tombstones.find(ended, call) and {'unknown_pool'} or create()
  end
  if refused and (mode ~= 'create' or refused ~= 'schema') then return {refused} end
  if state == 'deleting' then return {'deleting'} end
  if mode == 'create' then return pool_as(redis.call('HGET', pool, 'epoch') == new_epoch and 'created' or 'exists') end
  if mode == 'recover' then return known_epoch == new_epoch and pool_as('exists') or {'other_epoch'} end
  if mode == 'online' and not redis.call('HGET', pool, 'state') then return pool_as('configured') end
  if mode == 'recovered' and not recovering then return pool_as('configured') end
  if not tombstones.find(ended, call) then return change() end
  if not tombstones.told(ended, call, {'refused'}) then return pool_as('configured') end
  -- It was refused before and stays so, whatever has changed since.
  local again = change()
  return again[1] == 'configured' and {'generation', tonumber(redis.call('HGET', pool, 'generation'))} or again
end

local reply = settle()
local changed = #sets > 0 and (reply[1] == 'created' or reply[1] == 'configured')
if changed or repeated == '1' and not refused and mode == 'create' then
  tombstones.add(call)
elseif repeated == '1' and reply[1] ~= 'configured' and reply[1] ~= 'exists' then
  tombstones.settle(call, 'refused')
end
tombstones.prepare(ended, now)
if #tombstones.calls > 0 then
  guard(events, {}, {'HDEL', 'HGETALL', 'HSET', 'PERSIST', 'PEXPIRE', 'XADD', 'ZADD', 'ZREM'})
end

-- Apply -------------------------------------------------------------------------------------------
if changed then
  redis.call('HSET', pool, unpack(sets))
  if #drops > 0 then redis.call('HDEL', pool, unpack(drops)) end
  journal.add(reply[1] == 'created' and 'created' or 'configured', nil, nil, mode)
  recovery.save()
  reply = pool_as(reply[1])
  redis.call('PERSIST', ended)
  redis.call('ZREM', ended, 'deleted')
end
tombstones.save(ended, now)
-- Marks of a pool that is not there go with time, unless it is made.
if refused == 'unknown_pool' and not changed then redis.call('PEXPIRE', ended, schema.ENDED_KEEP_MS) end
journal.save(events)
return {reply}
