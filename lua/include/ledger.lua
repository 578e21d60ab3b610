-- ledger: what records take from the account and give back to it.  Wants `account` bound.
local ledger = {}

function ledger.bump()
  account.revision = account.revision + 1
  return account.revision
end

-- Adds a record's amounts to the counters, `sign` times.
function ledger.charge(list, sign)
  for i = 1, #list, 2 do
    account.allocated[list[i]] = account.allocated[list[i]] + sign * tonumber(list[i + 1])
  end
end

-- Whether the counters hold at least what a record says it took; if not, one of the two is broken.
-- Reads the counters that the call did not ask for itself.
function ledger.covers(key, list)
  for i = 1, #list, 2 do
    local field = list[i]
    if not account.capacity[field] then
      local values = redis.call('HMGET', key, string.sub(field, 1, -11) .. '.capacity', field)
      local capacity, allocated = tonumber(values[1]), tonumber(values[2])
      if not (capacity and allocated and allocated <= schema.AMOUNT_MAX and allocated % 1 == 0) then return false end
      account.capacity[field], account.allocated[field] = capacity, allocated
    end
    if (account.allocated[field] or -1) < tonumber(list[i + 1]) then return false end
  end
  return true
end
