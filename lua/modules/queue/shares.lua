-- shares: how much of the pool each scope with a weight has, and had.  Fair share orders the line by it (`fair_order`).
-- Where no scope has a weight (`call.pool.weights` is nil), nothing is read or written.
-- The dominant share of an allocation is the largest part of a resource of the pool that it has, in millionths, rounded
-- up.  Its record has it as `share`, so that exactly it is given back.  It counts for the innermost scope of its chain
-- that has a weight, its sharer, which the record names as `share_of`; without one for the pool, which stands for all
-- such requests with the weight 1.  What was granted before there was a weight counts from its next renewal, resize or
-- move on.
-- call.sharers = {name = {name, key, weight, live, used, used_ms, exists, was, moved}}, '' the pool's; `was`: `live` as
-- it is stored; `moved`: it has changed since its waiters were placed:
--   live   the sum of its live allocations
--   used   the mean of `live` over the past, where an instant weighs half as much as one a half-life later; it is that
--          of `used_ms`, the last change
local limits = require('limits')
local numbers = require('numbers')
local pools = require('pools')
local quotas = require('quotas')
local records = require('records')

local shares = {}

-- The dominant share of an allocation that has all of a resource.
local WHOLE = 1000000

-- What is less than this has been forgotten, in millionths of the pool.
local FORGOTTEN = 1e-9

-- The half-life of the pool.
function shares.half_life_ms(call)
  local pool = call.pool
  if not pool.half_life_ms then
    local text = string.match(pool.options or '', 'queue_half_life_ms=(%d+)')
    pool.half_life_ms = tonumber(text) or limits.HALF_LIFE_MS
  end
  return pool.half_life_ms
end

-- A number that is stored with a fraction, or 0.
local function mean(text)
  local number = text and string.find(text, '^%d+%.?%d*$') and tonumber(text)
  return number or 0
end

-- The sharer of that name, read once.
function shares.of(call, name)
  call.sharers = call.sharers or {}
  local sharer = call.sharers[name]
  if sharer then return sharer end
  local key = name == '' and call.key or string.sub(call.key, 1, -5) .. 'quota:' .. name
  local found = redis.call('HMGET', key, 'generation', 'weight', 'live_share', 'used_share', 'used_ms')
  local weight = numbers.exact(found[2])
  sharer = {
    name = name, key = key, weight = weight and weight > 0 and weight or nil, live = numbers.exact(found[3]) or 0,
    used = mean(found[4]), used_ms = numbers.exact(found[5]) or call.now, exists = found[1], moved = false,
  }
  sharer.was = sharer.live
  call.sharers[name] = sharer
  return sharer
end

-- The sharer of what is charged to these accounts, innermost first.
function shares.among(call, names)
  for n = 1, names and #names or 0 do
    local sharer = quotas.is_one(names[n]) and shares.of(call, string.sub(names[n], 7))
    if sharer and sharer.weight then return sharer end
  end
  return shares.of(call, '')
end

-- The part of `used` that is left after a time.
local function left(call, passed_ms)
  return 2 ^ (-math.max(0, passed_ms) / shares.half_life_ms(call))
end

-- What a sharer has used, as of now.
function shares.used(call, sharer)
  local part = left(call, call.now - sharer.used_ms)
  return sharer.used * part + sharer.live * (1 - part)
end

-- What the order of the line compares; 0 where all is forgotten.  Of what is live a part counts at once, beside what
-- was used: the penalty at grant, so that a burst pays for each grant before the next one is decided.
function shares.load(call, sharer)
  local load = (shares.used(call, sharer) + sharer.live / limits.PENALTY_PARTS) / (sharer.weight or 1)
  return load < FORGOTTEN and 0 or load
end

-- The dominant share of a list of amounts.
function shares.dominant(pool, list)
  local most = 1
  for i = 1, #list, 2 do
    local field = list[i]
    local capacity = pool.capacity[field]
    if capacity then
      -- What the pool keeps for scopes is a part of what it has.
      capacity = capacity + (pool.kept and pool.kept[field] or 0)
      local amount = list[i + 1] + 0
      local part = amount < capacity and math.ceil(amount / capacity * WHOLE) or WHOLE
      if amount > 0 and part > most then most = part end
    end
  end
  return most
end

local function add(call, sharer, change)
  sharer.used, sharer.used_ms = shares.used(call, sharer), math.max(call.now, sharer.used_ms)
  -- Less than nothing is the audit's to find.
  sharer.live = math.max(0, sharer.live + change)
  sharer.moved = true
end

-- Counts an allocation, charged to these accounts beyond the pool.
function shares.charge(call, record, names)
  local sharer = shares.among(call, names)
  record.share, record.share_of = shares.dominant(call.pool, record.list), sharer.name ~= '' and sharer.name or nil
  add(call, sharer, record.share)
end

-- Gives back what is counted of an allocation.
function shares.uncharge(call, record)
  add(call, shares.of(call, record.share_of or ''), -record.share)
end

-- Counts an allocation that was granted before there was a weight.
function shares.catch_up(call, record)
  if record.share then return end
  records.edit(call, record)
  shares.charge(call, record, record.accounts)
end

-- Counts an allocation with other amounts.
function shares.change(call, record)
  local before = record.share
  record.share = shares.dominant(call.pool, record.list)
  add(call, shares.of(call, record.share_of or ''), record.share - before)
end

-- Counts the scopes that have a weight.
function shares.count_weight(call, change)
  local count = math.max(0, (call.pool.weights or 0) + change)
  pools.set_option(call, 'weights', count > 0 and numbers.text(count) or '')
end

-- The fields of a sharer, as they are stored.
function shares.flat(sharer)
  return {
    'live_share', numbers.text(sharer.live), 'used_share', string.format('%.9f', sharer.used), 'used_ms',
    numbers.text(sharer.used_ms),
  }
end

return shares
