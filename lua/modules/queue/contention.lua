-- contention: which counters those who wait are short of, so that others must not take them: a set of marks, each the
-- name of an account and the field of a counter.
local limits = require('limits')
local numbers = require('numbers')
local quotas = require('quotas')

local contention = {}

-- A mark for all counters of an account.
local ALL = '*'

-- Marks a counter, or keeps the largest amount that is wanted of it by those who are not short of it.  `sums`: what the
-- members of a gang want of each.
local function mark(marks, name, is_short, amount, sums)
  if sums then
    amount = (sums[name] or 0) + amount
    sums[name] = amount
  end
  local was = marks[name]
  if was == true then return end
  marks[name] = is_short or math.max(was or 0, amount)
end

-- The counters that a waiter cannot have now: for each, the account that is short, and those of its chain below it,
-- whose guarantees it counts on.  `sums`: of a gang, whose members before this one are charged.
function contention.add(marks, charged, list, everything, sums)
  local levels = charged.levels or 0
  for n = 1, #charged do
    local account = charged[n]
    if everything then marks[account.name .. ' ' .. ALL] = true end
    -- The quotas of a scope and the pool above them are one rule, which follows.
    local is_alone = n > levels and (levels == 0 or n < #charged)
    for i = 1, is_alone and #list or 0, 2 do
      local field, capacity = list[i], account.capacity[list[i]]
      if capacity then
        local amount = list[i + 1] + 0
        mark(marks, account.name .. ' ' .. field, account.allocated[field] + amount > capacity, amount, sums)
      end
    end
  end
  for i = 1, levels > 0 and #list + 2 or 0, 2 do
    local field, amount = list[i] or quotas.ALLOCATIONS, list[i + 1] or quotas.ONE
    local short, is_short = quotas.short(charged, field, amount + 0), true
    for n = 1, #charged do
      is_short = is_short and short ~= nil
      if n <= levels or n == #charged then mark(marks, charged[n].name .. ' ' .. field, is_short, amount + 0, sums) end
      is_short = is_short and charged[n] ~= short
    end
  end
end

-- Whether the account limits the counter: the number of allocations of a scope often has no limit.
local function is_limited(account, field)
  return field ~= quotas.ALLOCATIONS or (account.capacity[field] or limits.AMOUNT_MAX) < limits.AMOUNT_MAX
end

-- Whether a request competes for a counter that is marked.  What a guarantee covers is not taken from the quotas and
-- the pool above.
local function competes(marks, charged, field, amount)
  local levels = charged.levels or 0
  for n = 1, #charged do
    local account = charged[n]
    local name = account.name
    local is_taken = amount > 0 or n > levels and n < #charged
    local marked = marks[name .. ' ' .. field] == true or marks[name .. ' ' .. ALL] and is_limited(account, field)
    if is_taken and marked then
      return true
    end
    if account.quota then amount = amount - quotas.reserve(account, field) end
  end
  return false
end

-- `is_growth`: of an allocation that is counted already.
function contention.has(marks, charged, list, is_growth)
  for i = 1, #list, 2 do
    if competes(marks, charged, list[i], list[i + 1] + 0) then return true end
  end
  return not is_growth and charged.levels ~= nil and competes(marks, charged, quotas.ALLOCATIONS, quotas.ONE)
end

-- Somebody has been granted this: those who wanted more of a counter than is left are short of it from here on.
function contention.taken(marks, charged, list)
  for n = 1, #charged do
    local account = charged[n]
    for i = 1, #list, 2 do
      local field = list[i]
      local name, capacity = account.name .. ' ' .. field, account.capacity[field]
      local wanted = marks[name]
      if wanted and wanted ~= true then
        -- What a quota has left depends on those above it.
        marks[name] = account.quota or not capacity or wanted > capacity - account.allocated[field] or wanted
      end
    end
  end
end

-- The marks as a text; nil if they are more than LINE_MARKS_MAX.
function contention.text(marks)
  local names = {}
  for name, value in pairs(marks) do
    names[#names + 1] = value == true and name or name .. '\t' .. numbers.text(value)
  end
  table.sort(names)
  return #names <= limits.LINE_MARKS_MAX and table.concat(names, '\n') or nil
end

function contention.parse(text)
  local marks = {}
  for name, wanted in string.gmatch(text, '([^\n\t]+)\t?(%d*)') do marks[name] = tonumber(wanted) or true end
  return marks
end

return contention
