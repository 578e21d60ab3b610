-- units: how much of a resource a pool gives out, and in which amounts.  The rule is that of an inventory of OpenStack
-- Placement, in integers (docs/policies.md).
-- A rule is {reserved, overcommit, least, most, step}, each nil if there is none.  The pool's option `units` is a list
-- of `<resource>:<reserved>:<overcommit>:<least>:<most>:<step>`, separated by commas; an empty part is none.  In a
-- change `-` leaves a part as it is.
-- `<resource>.capacity` is what the pool gives out, so a call does no arithmetic.  `<resource>.total` is what it has,
-- where the two have a rule between them.
local limits = require('limits')
local numbers = require('numbers')

local units = {}

local PARTS = {'reserved', 'overcommit', 'least', 'most', 'step'}
local ENTRY = '([^:,]+):([^:,]*):([^:,]*):([^:,]*):([^:,]*):([^:,]*)'

-- The text of the rules among a pool's options, or nil.
function units.among(options)
  return string.match(' ' .. options, ' units=(%S+)')
end

-- The bounds of single amounts, by the field of the counter, or nil if the rules have none.
function units.bounds(text)
  local bounds = nil
  for name, _, _, least, most, step in string.gmatch(text, ENTRY) do
    local one = {least = tonumber(least), most = tonumber(most), step = tonumber(step)}
    if one.least or one.most or one.step then
      bounds = bounds or {}
      bounds[name .. '.allocated'] = one
    end
  end
  return bounds
end

-- Whether an amount is outside of its bounds.  What shrinks may be above the largest, as it comes nearer to it.
function units.breaks(bounds, amount, growth)
  amount = amount + 0
  return growth ~= 0 and (bounds.least and amount < bounds.least or growth > 0 and bounds.most and amount > bounds.most
    or bounds.step and amount % bounds.step ~= 0)
end

-- The rules of a text, by resource.
function units.parse(text)
  local rules = {}
  for name, reserved, overcommit, least, most, step in string.gmatch(text or '', ENTRY) do
    rules[name] = {
      reserved = tonumber(reserved), overcommit = tonumber(overcommit), least = tonumber(least),
      most = tonumber(most), step = tonumber(step),
    }
  end
  return rules
end

local function read_part(name, part, text)
  local number = numbers.exact(text)
  if not number or part == 'overcommit' and number > limits.OVERCOMMIT_PERMILLE_MAX then
    error({err = 'CONTRACT units of ' .. name .. ' have no integer in its bounds as ' .. part})
  end
  return number ~= 0 and number or nil
end

-- Changes rules as a text says.  Returns the resources that it names, in its order.
function units.change(rules, text)
  local named = {}
  for entry in string.gmatch(text or '', '[^,]+') do
    local parts = {string.match(entry, '^' .. ENTRY .. '$')}
    local name = table.remove(parts, 1)
    if not name then error({err = 'CONTRACT units are malformed'}) end
    local rule = rules[name] or {}
    for i, part in ipairs(PARTS) do
      if parts[i] ~= '-' then rule[part] = parts[i] ~= '' and read_part(name, part, parts[i]) or nil end
    end
    rules[name], named[#named + 1] = next(rule) and rule or nil, name
  end
  return named
end

-- The text of rules, sorted by resource; '' if there are none.
function units.text(rules)
  local entries = {}
  for name, rule in pairs(rules) do
    local parts = {name}
    for i, part in ipairs(PARTS) do parts[i + 1] = rule[part] and numbers.text(rule[part]) or '' end
    entries[#entries + 1] = table.concat(parts, ':')
  end
  table.sort(entries)
  return table.concat(entries, ',')
end

-- What a rule gives out of a total, exactly: (total - reserved) * (1000 + overcommit) / 1000, rounded down.  nil if it
-- reserves more than the total.  The product is taken in two parts, as it may have more than 53 bits.
function units.limit(total, rule)
  local left, factor = total - (rule and rule.reserved or 0), 1000 + (rule and rule.overcommit or 0)
  if left < 0 then return nil end
  local rest = left % 1000
  return (left - rest) / 1000 * factor + math.floor(rest * factor / 1000)
end

-- Whether a total is not what the pool gives out, so that it is stored as well.
function units.has_total(rule)
  return rule ~= nil and (rule.reserved or rule.overcommit) ~= nil
end

-- What is wrong with a rule for this total: reserved, limit or bounds; nil if nothing is.
function units.flaw(total, rule)
  local limit = units.limit(total, rule)
  if not limit then return 'reserved' end
  if limit > limits.AMOUNT_MAX then return 'limit' end
  local step = rule.step or 1
  local first = math.ceil((rule.least or 1) / step) * step
  return first > (rule.most or limits.AMOUNT_MAX) and 'bounds' or nil
end

return units
