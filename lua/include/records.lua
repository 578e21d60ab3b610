-- records: an allocation's hash, to and from a table
-- {call, owner, fence, granted_ms, ttl_ms, deadline_ms, list, amounts, meta}: `list` is its (field, amount) pairs,
-- `amounts` the same by field; pinned ones have neither ttl_ms nor deadline_ms.  `releasing_ms`: since when it
-- is on its way out; `gap_ms`: the gap that its deadline was moved for.
local records = {}

-- Every record of a pool is `<base>allocation:<id>` where the account is `<base>pool`: the one derivation of a key.
function records.key(pool, id)
  return string.sub(pool, 1, -5) .. 'allocation:' .. id
end

function records.id(pool, key)
  return string.sub(key, #pool + 8)
end

local function parse(flat)
  local record, list, amounts, meta = {}, {}, {}, {}
  for i = 1, #flat, 2 do
    local field, value = flat[i], flat[i + 1]
    if string.sub(field, 1, 5) == 'meta.' and string.sub(field, -10) ~= '.allocated' then
      meta[#meta + 1], meta[#meta + 2] = field, value
    elseif string.sub(field, -10) == '.allocated' then
      local amount = tonumber(value)
      if not (amount and amount >= 0 and amount <= schema.AMOUNT_MAX and amount % 1 == 0) then
        record.broken, amount = field .. ' is no amount', 0
      end
      list[#list + 1], list[#list + 2], amounts[field] = field, amount, amount
    else
      record[field] = value
    end
  end
  record.fence, record.granted_ms = tonumber(record.fence), tonumber(record.granted_ms)
  if not (record.fence and record.granted_ms) then record.broken = 'fence or granted_ms is no number' end
  record.ttl_ms, record.deadline_ms = tonumber(record.ttl_ms), tonumber(record.deadline_ms)
  record.releasing_ms, record.gap_ms = tonumber(record.releasing_ms), tonumber(record.gap_ms)
  record.call, record.owner = record.call or '', record.owner or ''
  record.list, record.amounts, record.meta = list, amounts, meta
  return record
end

-- nil where there is none.  `broken` says what is wrong with one that cannot be read; a key that is being migrated to
-- another node is no such thing, and its error goes to the caller before anything was written.
function records.read(key)
  local flat = redis.pcall('HGETALL', key)
  if flat.err then
    -- tostring: in the in-process store the text of an error is no string.
    local text = tostring(flat.err)
    if string.sub(text, 1, 9) == 'WRONGTYPE' then return {broken = 'is no hash', list = {}, amounts = {}} end
    error(flat)
  end
  if #flat == 0 then return nil end
  return parse(flat)
end

-- The record of an id that the script found itself.  To the node that its slot is being moved to, a key that has not
-- arrived yet looks as if there were none; asked for two keys at once it says TRYAGAIN.
function records.found(pool, id)
  local key = records.key(pool, id)
  local record = records.read(key)
  if not record then redis.call('EXISTS', pool, key) end
  return record
end

-- The record of an item that the caller named: broken data there is the caller's to hear of.
function records.named(key)
  local record = records.read(key)
  if record and record.broken then error({err = 'INVARIANT ' .. key .. ' ' .. record.broken}) end
  return record
end

-- What is live of those that items name, by key: false where nothing is.
function records.of_items(items, read)
  local live = {}
  for _, item in ipairs(items) do
    if live[item.key] == nil then live[item.key] = (read or records.named)(item.key) or false end
  end
  return live
end

-- The fields as they are stored and replied, after what is in `into`.
function records.flat(record, into)
  local n = #into
  for i = 1, #record.list do into[n + i] = record.list[i] end
  n = #into
  into[n + 1], into[n + 2], into[n + 3], into[n + 4] = 'owner', record.owner, 'fence', record.fence
  into[n + 5], into[n + 6], into[n + 7], into[n + 8] = 'call', record.call, 'granted_ms', record.granted_ms
  n = n + 8
  if record.deadline_ms then
    into[n + 1], into[n + 2], into[n + 3], into[n + 4] = 'ttl_ms', record.ttl_ms, 'deadline_ms', record.deadline_ms
    n = n + 4
  end
  for _, mark in ipairs({'releasing_ms', 'gap_ms'}) do
    if record[mark] then
      into[n + 1], into[n + 2] = mark, record[mark]
      n = n + 2
    end
  end
  for i = 1, #record.meta do into[n + i] = record.meta[i] end
  return into
end
