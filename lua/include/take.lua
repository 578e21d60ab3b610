-- take: charges the (field, amount) pairs in `list` if all of them fit, and says whether they did.  `allocate`,
-- `resize` and `check` share it, so that they cannot disagree.  Wants `account` bound.
-- A field is `<resource>.allocated`, an amount plain digits.  `held` is what the allocation has already (resize): a
-- counter in which it does not grow passes.
local function take(list, first, last, held)
  local allocated, whole = account.allocated, account.whole
  for at = first, last, 2 do
    local field, amount = list[at], tonumber(list[at + 1])
    if not amount or amount > schema.AMOUNT_MAX or string.find(list[at + 1], '%D') then
      error({err = 'CONTRACT an amount is no exact integer'})
    end
    local growth, before = amount - (held and held[field] or 0), allocated[field]
    if growth > 0 and (not before or before + growth > account.capacity[field]
      or whole and whole[field] and amount % 1000 ~= 0) then
      for back = first, at - 2, 2 do
        allocated[list[back]] = allocated[list[back]] - list[back + 1] + (held and held[list[back]] or 0)
      end
      return false
    end
    if before then allocated[field] = before + growth end
  end
  return true
end
