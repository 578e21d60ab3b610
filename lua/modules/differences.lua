-- differences: what a record that has changed in memory differs in from the stored one.
local records = require('records')

local differences = {}

-- Adds the amounts that differ: those to write, and those to remove.
local function compare_amounts(record, sets, drops)
  local was, list = {}, record.list
  for i = 1, #record.stored_list, 2 do was[record.stored_list[i]] = record.stored_list[i + 1] end
  for i = 1, #list, 2 do
    local field, amount = list[i], list[i + 1]
    if not was[field] or was[field] - amount ~= 0 then sets[#sets + 1], sets[#sets + 2] = field, amount end
    was[field] = nil
  end
  for field in pairs(was) do drops[#drops + 1] = field end
end

-- Adds the accounts that a move has changed.
local function compare_accounts(record, sets, drops)
  local before, after = record.stored_accounts, record.accounts or {}
  for n = 1, math.max(#before, #after) do
    if not after[n] then
      drops[#drops + 1] = 'account.' .. n
    elseif after[n] ~= before[n] then
      sets[#sets + 1], sets[#sets + 2] = 'account.' .. n, after[n]
    end
  end
end

-- Adds one more field.
local function compare_field(record, field, sets, drops)
  local value, stored = record[field], record.stored[field]
  if value and value ~= stored then sets[#sets + 1], sets[#sets + 2] = field, value end
  if stored and not value then drops[#drops + 1] = field end
end

-- The fields of a record that differ from the stored ones.
function differences.of(record)
  local stored, sets, drops = record.stored, {false, false, false, false}, nil
  local n = 0
  local optional = records.OPTIONAL
  for i = 1, #optional do
    local field = optional[i]
    local value = record[field]
    if value ~= stored[field] then
      if value then
        sets[n + 1], sets[n + 2] = field, value
        n = n + 2
      else
        drops = drops or {}
        drops[#drops + 1] = field
      end
    end
  end
  if record.call ~= stored.call or record.touched and n == 0 then
    sets[n + 1], sets[n + 2] = 'call', record.call
    n = n + 2
  end
  for i = #sets, n + 1, -1 do sets[i] = nil end
  if record.stored_list then
    drops = drops or {}
    compare_amounts(record, sets, drops)
  end
  if record.stored_accounts then
    drops = drops or {}
    compare_accounts(record, sets, drops)
  end
  if record.share ~= stored.share or record.share_of ~= stored.share_of then
    drops = drops or {}
    compare_field(record, 'share', sets, drops)
    compare_field(record, 'share_of', sets, drops)
  end
  return sets, drops
end

return differences
