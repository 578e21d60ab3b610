-- numbers: exact integers from 0 to 2^53-1.
local limits = require('limits')

local numbers = {}

-- The integer of a stored text, or nil.  NaN, infinity and fractions fail one of the comparisons.
function numbers.exact(text)
  local number = tonumber(text)
  if number and number >= 0 and number <= limits.AMOUNT_MAX and number % 1 == 0 then return number end
  return nil
end

-- The number in full digits: `tostring` writes 1e+15, and '%d' is a C long, which may have 32 bits.
function numbers.text(number)
  -- Up to fourteen digits a Lua concatenation writes all of them, at half the cost.
  if number < 1e14 then return number .. '' end
  return string.format('%.0f', number)
end

return numbers
