-- account: the pool's counters; read once, changed in memory, written once.
-- `revision` grows with every change; a grant takes its fence from it.
local account = {capacity = {}, allocated = {}, changed = {}}

function account.amount(value, field)
  local number = tonumber(value)
  if not (number and number >= 0 and number <= schema.AMOUNT_MAX and number % 1 == 0) then
    error({err = 'INVARIANT ' .. account.key .. ' ' .. field .. ' is no amount'})
  end
  return number
end

-- Reads the pool and the counters of `names`.  A word comes back where the call ends here: the pool is not there, is
-- another one, or is written by newer versions only.
function account.open(key, epoch, names)
  local fields, n = {'epoch', 'schema', 'state', 'revision', 'whole_units'}, 5
  for _, name in ipairs(names) do
    fields[n + 1], fields[n + 2] = name .. '.capacity', name .. '.allocated'
    n = n + 2
  end
  account.key = key
  local values = redis.call('HMGET', key, unpack(fields))
  if not values[1] then return 'unknown_pool' end
  if epoch ~= '' and epoch ~= values[1] then return 'other_epoch' end
  if account.amount(values[2], 'schema') > schema.VERSION then return 'schema' end
  account.state, account.whole_units = values[3], values[5]
  account.revision = account.amount(values[4], 'revision')
  account.read_revision = account.revision
  for i, name in ipairs(names) do
    account.keep(name, values[4 + 2 * i], values[5 + 2 * i])
  end
  return nil
end

-- A resource that the pool does not count has no capacity, not one of 0.
function account.keep(name, capacity, allocated)
  if capacity then
    account.capacity[name] = account.amount(capacity, name .. '.capacity')
    account.allocated[name] = account.amount(allocated or 0, name .. '.allocated')
  end
end

-- Also the counters of `names`, which a record mentions.
function account.load(names)
  for _, name in ipairs(names) do
    if not account.capacity[name] then
      local values = redis.call('HMGET', account.key, name .. '.capacity', name .. '.allocated')
      account.keep(name, values[1], values[2])
    end
  end
end

function account.charge(name, amount)
  account.allocated[name] = account.allocated[name] + amount
  account.changed[name] = true
end

-- Whether the counters hold at least what a record says it took; if not, one of the two is broken.
function account.covers(names, amounts)
  for _, name in ipairs(names) do
    if (account.allocated[name] or -1) < amounts[name] then return false end
  end
  return true
end

function account.bump()
  account.revision = account.revision + 1
  return account.revision
end

-- Whoever charges also bumps: an unchanged revision means unchanged counters.
function account.save()
  if account.revision == account.read_revision then return end
  local fields, n = {'revision', account.revision}, 2
  for name in pairs(account.changed) do
    fields[n + 1], fields[n + 2] = name .. '.allocated', account.allocated[name]
    n = n + 2
  end
  redis.call('HSET', account.key, unpack(fields))
end
