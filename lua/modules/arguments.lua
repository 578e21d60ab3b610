-- arguments: reads the call's arguments from left to right.  A breach of the contract is an error before anything is
-- written.
local context = require('context')
local limits = require('limits')

local arguments = {}

function arguments.refuse(name)
  error({err = 'CONTRACT ' .. name .. ' is no integer in its bounds'})
end

function arguments.text(call, name)
  local at = call.at + 1
  local text = call.argv[at]
  call.at = at
  if not text then error({err = 'CONTRACT ' .. name .. ' is missing'}) end
  return text
end

-- An exact integer of plain digits, from 0 to `max`, at most 2^53-1.
function arguments.integer(call, name, max)
  local at = call.at + 1
  local text = call.argv[at]
  call.at = at
  if text == '0' then return 0 end
  if not text or not text:find('^%d+$') then arguments.refuse(name) end
  -- Arithmetic converts a text at half the cost of `tonumber`.
  local number = text + 0
  if number > (max or limits.AMOUNT_MAX) then arguments.refuse(name) end
  return number
end

-- An integer from -`most` to `most`.
function arguments.signed(call, name, most)
  local text = arguments.text(call, name)
  if not text:find('^%-?%d+$') or #text > 6 or math.abs(text + 0) > most then arguments.refuse(name) end
  return text + 0
end

function arguments.flag(call, name)
  local text = arguments.text(call, name)
  return text == '1'
end

-- `count` pairs of a field and an amount, each at least `least`.
function arguments.list(call, count, least)
  local list, named = {}, {}
  for i = 1, 2 * count, 2 do
    local field = arguments.text(call, 'resource')
    if named[field] then error({err = 'CONTRACT resource named twice'}) end
    local amount = arguments.integer(call, 'amount')
    if amount < least then arguments.refuse('amount') end
    list[i], list[i + 1], named[field] = field, amount, true
  end
  return list
end

-- The number of keys after the envelope's.
function arguments.records(call)
  return #call.keys - context.KEYS
end

function arguments.record(call, i)
  return call.keys[context.KEYS + i]
end

-- All items, up to the last argument.  `read` makes a table of the arguments after the call id and `repeated`, with
-- room for these two and for the key.
function arguments.items(call, read)
  local count = #call.keys - context.KEYS
  local items = count > 0 and {false} or {}
  if count > limits.BATCH_ITEMS_MAX then error({err = 'CONTRACT too many items'}) end
  for i = 1, count do
    local id = arguments.text(call, 'call')
    local repeated = arguments.flag(call, 'repeated')
    local item = read(call)
    item.call, item.repeated, item.key = id, repeated, call.keys[context.KEYS + i]
    items[i] = item
  end
  arguments.finish(call, count)
  return items
end

-- Called after the last argument: an unread key or argument is an error.
function arguments.finish(call, records)
  if #call.keys ~= context.KEYS + records then error({err = 'CONTRACT keys do not match the items'}) end
  if call.at ~= #call.argv then error({err = 'CONTRACT arguments are left over'}) end
end

return arguments
