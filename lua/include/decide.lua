--@include account
-- decide: whether a request fits, and if not, why in numbers.  `allocate`, `resize` and `check` share it, so that they
-- cannot disagree.  `held` is what the allocation has already (resize): a resource in which it does not grow passes.
local decide = {}

local function broken_units(name, amount)
  return account.whole_units and amount % 1000 ~= 0
    and string.find(' ' .. account.whole_units .. ' ', ' ' .. name .. ' ', 1, true)
end

function decide.fits(names, amounts, held)
  for _, name in ipairs(names) do
    local amount, capacity = amounts[name], account.capacity[name]
    local growth = amount - (held[name] or 0)
    if growth > 0 and (not capacity or account.allocated[name] + growth > capacity or broken_units(name, amount)) then
      return false
    end
  end
  return true
end

-- The first check that fails, in the documented order, and every resource that fails it:
-- {'denied', code, (name, requested, allocated, capacity)*}.  `asked` is what a gang asks for together.
function decide.refusal(names, amounts, held, asked)
  local function growth(name) return amounts[name] - (held[name] or 0) end
  local checks = {
    {'unknown_resource', function(name) return not account.capacity[name] end},
    {'constraint_violation', function(name) return broken_units(name, amounts[name]) end},
    {'never_fits', function(name) return (asked[name] or amounts[name]) > account.capacity[name] end},
    {'capacity_exceeded', function(name) return account.allocated[name] + growth(name) > account.capacity[name] end},
  }
  for _, check in ipairs(checks) do
    local reply, n = {'denied', check[1]}, 2
    for _, name in ipairs(names) do
      if growth(name) > 0 and check[2](name) then
        reply[n + 1], reply[n + 2] = name, growth(name)
        reply[n + 3], reply[n + 4] = account.allocated[name] or 0, account.capacity[name] or 0
        n = n + 4
      end
    end
    if n > 2 then return reply end
  end
  error({err = 'CONTRACT refused what fits'})
end
