-- args: what the caller sent, read left to right.  The only include that touches KEYS and ARGV.
-- Whatever breaks the contract is an error before anything is written.
local args = {at = 0}

function args.from(position)
  args.at = position - 1
end

function args.text(name)
  args.at = args.at + 1
  return ARGV[args.at] or error({err = 'CONTRACT missing ' .. name})
end

-- An exact integer from 0 to 2^53-1.  NaN, infinity and fractions fail one of the comparisons.
function args.int(name)
  args.at = args.at + 1
  local number = tonumber(ARGV[args.at])
  if not (number and number >= 0 and number <= 9007199254740991 and number % 1 == 0) then
    error({err = 'CONTRACT ' .. name .. ' is no integer from 0 to 2^53-1'})
  end
  return number
end

function args.bounded(name, max)
  local number = args.int(name)
  return number <= max and number or error({err = 'CONTRACT ' .. name .. ' is above ' .. max})
end

-- A count and so many (name, amount) pairs.
function args.amounts(max)
  local names, amounts = {}, {}
  for i = 1, args.bounded('resources', max) do
    local name = args.text('resource')
    if amounts[name] then error({err = 'CONTRACT resource named twice'}) end
    names[i], amounts[name] = name, args.int('amount')
  end
  return names, amounts
end

function args.record(fixed, i)
  return KEYS[fixed + i] or error({err = 'CONTRACT missing key of item ' .. i})
end

-- How many keys follow the fixed ones.
function args.records(fixed)
  return #KEYS - fixed
end

function args.more()
  return args.at < #ARGV
end

-- After the last item: neither a key nor an argument may be left over.
function args.finish(fixed, items)
  if #KEYS ~= fixed + items then error({err = 'CONTRACT keys do not match the items'}) end
  if args.at ~= #ARGV then error({err = 'CONTRACT arguments left over'}) end
end
