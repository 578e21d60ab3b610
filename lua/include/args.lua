-- args: what the caller sent, read left to right.  The only include that touches KEYS and ARGV.
-- Whatever breaks the contract is an error before anything is written.
local args = {at = 0}

-- So many texts at once.
function args.take(count)
  local from = args.at + 1
  args.at = args.at + count
  if args.at > #ARGV then error({err = 'CONTRACT arguments are missing'}) end
  return unpack(ARGV, from, args.at)
end

-- An exact integer from 0 to `max`, at most 2^53-1.  NaN, infinity and fractions fail one of the comparisons.
function args.int(text, name, max)
  local number = tonumber(text)
  if not (number and number >= 0 and number <= (max or schema.AMOUNT_MAX) and number % 1 == 0) then
    error({err = 'CONTRACT ' .. name .. ' is no integer in its bounds'})
  end
  return number
end

-- `count` pairs of a resource and an amount: the resources in order, and the amounts by resource.
function args.amounts(count)
  local names, amounts = {}, {}
  for i = 1, args.int(count, 'resources', schema.RESOURCES_MAX) do
    local name, amount = args.take(2)
    if amounts[name] then error({err = 'CONTRACT resource named twice'}) end
    names[i], amounts[name] = name, args.int(amount, 'amount')
  end
  return names, amounts
end

-- All items, up to the end of KEYS and ARGV: `read` takes the arguments of one and makes a table of them, which is
-- given its key.
function args.items(fixed, read)
  local items, count = {}, args.records(fixed)
  if count > schema.BATCH_ITEMS_MAX then error({err = 'CONTRACT too many items'}) end
  for i = 1, count do
    items[i] = read()
    items[i].key = args.record(fixed, i)
  end
  args.finish(fixed, count)
  return items
end

-- The key of an item, or nil after the last.
function args.record(fixed, i)
  return KEYS[fixed + i]
end

-- How many keys follow the fixed ones.
function args.records(fixed)
  return #KEYS - fixed
end

-- After the last item: neither a key nor an argument may be left over.
function args.finish(fixed, items)
  if #KEYS ~= fixed + items then error({err = 'CONTRACT keys do not match the items'}) end
  if args.at ~= #ARGV then error({err = 'CONTRACT arguments are left over'}) end
end
