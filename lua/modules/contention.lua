-- contention: which counters those who wait are short of, so that others must not take them: a set of marks, each the
-- name of an account and the field of a counter.
local limits = require('limits')
local quotas = require('quotas')

local contention = {}

-- A mark for all counters of an account.
local ALL = '*'

-- The counters that a waiter cannot have now: for each, the account that is short, and those of its chain below it,
-- whose guarantees it counts on.
function contention.add(marks, charged, list, everything)
  local levels = charged.levels or 0
  for n = 1, #charged do
    local account = charged[n]
    if everything then marks[account.name .. ' ' .. ALL] = true end
    -- The quotas of a scope and the pool above them are one rule, which follows.
    local is_alone = n > levels and (levels == 0 or n < #charged)
    for i = 1, is_alone and #list or 0, 2 do
      local field, capacity = list[i], account.capacity[list[i]]
      if capacity and account.allocated[field] + list[i + 1] > capacity then
        marks[account.name .. ' ' .. field] = true
      end
    end
  end
  for i = 1, levels > 0 and #list + 2 or 0, 2 do
    local field, amount = list[i] or quotas.ALLOCATIONS, list[i + 1] or quotas.ONE
    local short = quotas.short(charged, field, amount + 0)
    for n = 1, short and #charged or 0 do
      if n <= levels or n == #charged then marks[charged[n].name .. ' ' .. field] = true end
      if charged[n] == short then break end
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
    if is_taken and (marks[name .. ' ' .. field] or marks[name .. ' ' .. ALL] and is_limited(account, field)) then
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

-- The marks as a text; nil if they are more than LINE_MARKS_MAX.
function contention.text(marks)
  local names = {}
  for name in pairs(marks) do names[#names + 1] = name end
  table.sort(names)
  return #names <= limits.LINE_MARKS_MAX and table.concat(names, '\n') or nil
end

function contention.parse(text)
  local marks = {}
  for name in string.gmatch(text, '[^\n]+') do marks[name] = true end
  return marks
end

return contention
