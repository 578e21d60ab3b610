-- refusal: why a request does not fit: the first check that fails, in the documented order, and every resource that
-- fails it, in numbers: {'denied', code, (resource, requested, allocated, capacity)*}.
-- `asked` is what a gang asks for together.  What was refused before `stands` refused, also where it would fit now.
-- Wants `account` bound.
local function refusal(list, first, last, held, asked, stands)
  local checks = {
    {'unknown_resource', function(field) return not account.capacity[field] end},
    {'constraint_violation', function(field, amount)
      return account.whole and account.whole[field] and amount % 1000 ~= 0
    end},
    {'never_fits', function(field, amount) return (asked and asked[field] or amount) > account.capacity[field] end},
    {'capacity_exceeded', function(field, _, growth)
      return account.allocated[field] + growth > account.capacity[field]
    end},
    {'capacity_exceeded', function() return stands end},
  }
  for _, check in ipairs(checks) do
    local reply, n = {'denied', check[1]}, 2
    for at = first, last, 2 do
      local field, amount = list[at], tonumber(list[at + 1])
      local growth = amount - (held and held[field] or 0)
      if growth > 0 and check[2](field, amount, growth) then
        reply[n + 1], reply[n + 2] = string.sub(field, 1, -11), growth
        reply[n + 3], reply[n + 4] = account.allocated[field] or 0, account.capacity[field] or 0
        n = n + 4
      end
    end
    if n > 2 then return reply end
  end
  if stands then return {'denied', 'capacity_exceeded'} end
  error({err = 'CONTRACT refused what fits'})
end
