-- records: converts an allocation's hash to and from a table
-- {id, key, call, owner, fence, granted_ms, ttl_ms, deadline_ms, ends_ms, asserted_ms, releasing_ms, gap_ms, ttls,
--  told, list, meta, accounts, unclaimed_ttl_ms, priority, preempted_by, share, share_of}: `list` has its fields and
-- amounts, alternating; `accounts` the accounts beyond the pool.  A pinned one has neither ttl_ms nor deadline_ms.
-- `ends_ms` is its hard end, which no deadline passes: whatever sets a deadline cuts it.  `unclaimed_ttl_ms`: granted
-- from the line, and its caller does not know yet; the requested time to live, 0 pins.  `preempted_by`: the id whose
-- request takes its room (`preemption`).  `share`, `share_of`: its dominant share, and the scope that counts it
-- (`shares`).  A record is read once, changed in memory, and `transaction.commit` writes the difference.
local accounts = require('accounts')
local numbers = require('numbers')

local records = {}

-- The key of a record: `<base>allocation:<id>` where the pool is `<base>pool`.  The only computed key.
function records.key(call, id)
  return string.sub(call.key, 1, -5) .. 'allocation:' .. id
end

function records.id(call, key)
  return string.sub(key, #call.key + 8)
end

-- Adds an optional field.
local function take_other(record, field, value)
  if string.sub(field, 1, 5) == 'meta.' then
    local meta = record.meta or {}
    meta[#meta + 1], meta[#meta + 2], record.meta = field, value, meta
  elseif string.sub(field, 1, 8) == 'account.' then
    local names = record.accounts or {}
    names[tonumber(string.sub(field, 9)) or #names + 1], record.accounts = value, names
  elseif field == 'asserted_ms' or field == 'releasing_ms' or field == 'gap_ms' or field == 'unclaimed_ttl_ms'
    or field == 'priority' or field == 'share' then
    record[field] = tonumber(value)
  elseif field == 'ends_ms' then
    record.ends_ms = numbers.exact(value)
    if not record.ends_ms then record.broken = 'ends_ms is no number' end
  else
    record[field] = value
  end
end

-- Adds all optional fields.
local function take_others(record, flat)
  for i = 1, #flat, 2 do
    local field = flat[i]
    if field ~= 'owner' and field ~= 'fence' and field ~= 'call' and field ~= 'granted_ms' and field ~= 'ttl_ms'
      and field ~= 'deadline_ms' and string.sub(field, -10) ~= '.allocated' then
      take_other(record, field, flat[i + 1])
    end
  end
end

-- Finds the field of a broken record that is not a number; returns the readable part, and the error.
local function find_fault(record, amounts)
  for _, field in ipairs({'fence', 'granted_ms', 'ttl_ms', 'deadline_ms'}) do
    record[field] = tonumber(record[field])
  end
  record.fence_text = nil
  for i = 1, amounts, 2 do
    local field = record.list[i]
    if not numbers.exact(record.list[i + 1]) then record.broken, record.list[i + 1] = field .. ' is no amount', '0' end
  end
  if not record.fence or not record.granted_ms then
    record.broken = 'fence or granted_ms is no number'
  elseif (record.ttl_ms == nil) ~= (record.deadline_ms == nil) then
    record.broken = 'ttl_ms without deadline_ms'
  end
end

local function parse(call, key, flat)
  local list, n, digits, others = {nil, nil, nil, nil}, 0, '', nil
  local owner, fence, ids, granted_ms, ttl_ms, deadline_ms = '', nil, '*', nil, nil, nil
  local first = 1
  -- The ordinary order of a lease's fields, which need no search.
  if flat[1] == 'owner' and flat[3] == 'fence' and flat[5] == 'call' and flat[7] == 'granted_ms'
    and flat[9] == 'ttl_ms' and flat[11] == 'deadline_ms' and flat[6] ~= '' then
    owner, fence, ids, granted_ms, ttl_ms, deadline_ms = flat[2], flat[4], flat[6], flat[8], flat[10], flat[12]
    first = 13
  end
  for i = first, #flat, 2 do
    local field, value = flat[i], flat[i + 1]
    if field == 'owner' then
      owner = value
    elseif field == 'fence' then
      fence = value
    elseif field == 'call' then
      if value ~= '' then ids = value end
    elseif field == 'granted_ms' then
      granted_ms = value
    elseif field == 'ttl_ms' then
      ttl_ms = value
    elseif field == 'deadline_ms' then
      deadline_ms = value
    elseif field:find('.allocated', -10, true) then
      list[n + 1], list[n + 2] = field, value
      n = n + 2
      digits = #value < 16 and value ~= '' and digits .. value or ' '
    else
      others = true
    end
  end
  local record = {
    key = key, id = key:sub(#call.key + 8), call = ids, owner = owner, fence = fence, fence_text = fence,
    granted_ms = granted_ms, ttl_ms = ttl_ms, deadline_ms = deadline_ms, list = list, flat = flat, gone = nil,
    unlinks = nil, stored = nil,
  }
  if others then take_others(record, flat) end
  -- All numbers are checked together; other text than plain digits is handled by `find_fault`.
  if fence and granted_ms and (deadline_ms and ttl_ms or not deadline_ms and not ttl_ms)
    and (digits .. fence .. granted_ms .. (ttl_ms or '') .. (deadline_ms or '')):find('^%d+$')
    and fence ~= '' and granted_ms ~= '' and ttl_ms ~= '' and deadline_ms ~= '' then
    record.fence, record.granted_ms = fence + 0, granted_ms + 0
    if ttl_ms then record.ttl_ms, record.deadline_ms = ttl_ms + 0, deadline_ms + 0 end
  else
    find_fault(record, n)
  end
  return record
end

local function decode_error(call, key, flat)
  -- tostring: in the in-process server the text of an error is not a string.
  if string.sub(tostring(flat.err), 1, 9) ~= 'WRONGTYPE' then error(flat) end
  return {id = records.id(call, key), key = key, broken = 'is no hash', list = {}, call = '*'}
end

-- Reads a record; nil if there is none.  `broken` is the error of one that cannot be decoded.  The error for a key that
-- is migrating to another cluster node is raised to the caller, before anything is written.
function records.read(call, key)
  local flat = redis.pcall('HGETALL', key)
  if flat.err then return decode_error(call, key, flat) end
  return flat[1] and parse(call, key, flat) or nil
end

-- The record of an id that the script read from an index.  On the node to which its slot is migrating, a key that has
-- not arrived looks absent; a command with two keys raises TRYAGAIN there.
function records.at_id(call, id)
  local key = records.key(call, id)
  local record = records.read(call, key)
  if not record then redis.call('EXISTS', call.key, key) end
  return record
end

local function refuse_broken(record)
  error({err = 'INVARIANT ' .. record.key .. ' ' .. record.broken})
end

-- The record of an item of this call, read once; false if there is none.  Broken data raises an error to the caller.
function records.of_item(call, key)
  local record = call.records[key]
  if record == nil then
    local flat = redis.pcall('HGETALL', key)
    if flat[1] then
      record = parse(call, key, flat)
    else
      record = flat.err and decode_error(call, key, flat) or false
    end
    call.records[key] = record
  end
  if record and record.broken then refuse_broken(record) end
  return record
end

-- Reads the records of all items, and adds their counters to the pool's fields to read.
function records.load(call, items, fields, count)
  -- A single item has no duplicates.
  local counted = items[2] and {} or nil
  for i = 1, #items do
    local record = records.of_item(call, items[i].key)
    if record then
      local list = record.list
      for j = 1, #list, 2 do
        local field = list[j]
        count = accounts.want(fields, count, counted, field)
      end
    end
  end
  return count
end

-- Called before a record is changed: keeps its stored fields for the comparison.
function records.edit(call, record)
  if record.fresh or record.stored then return end
  record.stored = {
    call = record.call, ttl_ms = record.ttl_ms, deadline_ms = record.deadline_ms, asserted_ms = record.asserted_ms,
    releasing_ms = record.releasing_ms, gap_ms = record.gap_ms, ttls = record.ttls, told = record.told,
    ends_ms = record.ends_ms,
    unclaimed_ttl_ms = record.unclaimed_ttl_ms, priority = record.priority, preempted_by = record.preempted_by,
    share = record.share, share_of = record.share_of,
  }
  local changed = call.changed or {}
  changed[#changed + 1], call.changed = record, changed
end

-- The optional fields that may change, in the order of the reply.
records.OPTIONAL = {
  'ttl_ms', 'deadline_ms', 'ends_ms', 'asserted_ms', 'releasing_ms', 'gap_ms', 'ttls', 'told', 'unclaimed_ttl_ms',
  'priority', 'preempted_by',
}

-- Adds the amounts and the optional fields, after the first `n` entries of `into`.
local function add_rest(call, record, into, n)
  local list, optional = record.list, records.OPTIONAL
  for i = 1, #list do into[n + i] = list[i] end
  n = n + #list
  for i = 1, #optional do
    local field = optional[i]
    local value = record[field]
    if value then
      into[n + 1], into[n + 2] = field, value
      n = n + 2
    end
  end
  local names = record.accounts
  for i = 1, names and #names or 0 do
    into[n + 1], into[n + 2] = 'account.' .. i, names[i]
    n = n + 2
  end
  if record.meta_first then
    for at = record.meta_first, record.last do
      n = n + 1
      into[n] = call.argv[at]
    end
  end
  local meta = record.meta
  for i = 1, meta and #meta or 0 do into[n + i] = meta[i] end
end

-- Adds the fields as stored and replied, after the entries of `into`.
function records.flat(call, record, into)
  local n = #into
  into[n + 1], into[n + 2], into[n + 3], into[n + 4] = 'owner', record.owner, 'fence', record.fence
  into[n + 5], into[n + 6], into[n + 7], into[n + 8] = 'call', record.call, 'granted_ms', record.granted_ms
  add_rest(call, record, into, n + 8)
  if record.share then into[#into + 1], into[#into + 2] = 'share', record.share end
  if record.share_of then into[#into + 1], into[#into + 2] = 'share_of', record.share_of end
  return into
end

-- The reply for a record, with the fields that the pool adds.
function records.reply(call, word, record)
  local pool = call.pool
  -- Preallocated for the ordinary fields: a table that grows costs more.
  local reply = {
    word, 'epoch', pool.epoch, 'durability', pool.durability or '', 'owner', record.owner, 'fence', record.fence,
    'call', record.call, 'granted_ms', record.granted_ms, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil,
    nil, nil, nil, nil,
  }
  add_rest(call, record, reply, 13)
  return reply
end

-- A deadline, no later than a hard end, if there is one.
function records.cut(deadline_ms, ends_ms)
  if ends_ms and deadline_ms > ends_ms then return ends_ms end
  return deadline_ms
end

-- The hard end of what is granted now, by its own lifetime and the pool's; nil if it has none.
function records.end_of(call, lifetime_ms)
  local most_ms = call.pool.max_lifetime_ms
  if most_ms and (not lifetime_ms or lifetime_ms > most_ms) then lifetime_ms = most_ms end
  return lifetime_ms and call.now + lifetime_ms
end

-- Whether the hard end has been reached: then no call extends or returns it.
function records.is_over(call, record)
  return record.ends_ms and record.ends_ms <= call.now
end

-- The time to live for a request that asked for `ask_ms`: with a hard end, 0 asks for all the time until then.
function records.lasting(call, ask_ms, ends_ms)
  if ask_ms == 0 and ends_ms then return ends_ms - call.now end
  return ask_ms
end

-- When the allocation was last returned: by a grant, a renewal, or a reply to a repeated call.
function records.last_asserted(record)
  if record.asserted_ms then return record.asserted_ms end
  return record.ttl_ms and record.deadline_ms - record.ttl_ms or record.granted_ms
end

-- The sorted set that indexes it, and its score there.
function records.index_entry(call, record)
  if record.deadline_ms then return call.deadlines, record.deadline_ms end
  return call.pinned, record.granted_ms
end

return records
