-- claims: the calls that have returned an allocation: `call`, at most three ids, oldest first.  `*` at the first
-- position stands for all others: older calls, and adoptions.  With several ids, `ttls` and `told` have each call's
-- requested time to live and the deadline that its reply had, 0 if pinned.  So the changes of a call can be undone
-- without ending the allocation for the others.
local limits = require('limits')
local numbers = require('numbers')
local records = require('records')

local claims = {}

local function split(text)
  local parts = {}
  for part in string.gmatch(text, '%S+') do parts[#parts + 1] = part end
  return parts
end

-- The claims, {id, ttl_ms, deadline_ms} each.  A single one has the record's ttl and deadline.
local function read(record)
  local ids, ttls, deadlines = split(record.call), split(record.ttls or ''), split(record.told or '')
  local list = {}
  for i = 1, #ids do
    list[i] = {
      id = ids[i], ttl_ms = tonumber(ttls[i]) or record.ttl_ms or 0,
      deadline_ms = tonumber(deadlines[i]) or record.deadline_ms or 0,
    }
  end
  return list
end

local function write(record, list)
  local ids, ttls, deadlines = {}, {}, {}
  for i = 1, #list do
    ids[i], ttls[i], deadlines[i] = list[i].id, numbers.text(list[i].ttl_ms), numbers.text(list[i].deadline_ms)
  end
  record.call = table.concat(ids, ' ')
  if #list > 1 then
    record.ttls, record.told = table.concat(ttls, ' '), table.concat(deadlines, ' ')
  else
    record.ttls, record.told = nil, nil
  end
end

-- The longer of two times, where 0 means without end.
local function longer(one, other)
  if one == 0 or other == 0 then return 0 end
  return math.max(one, other)
end

function claims.ids(record)
  return split(record.call)
end

-- Whether this call has returned the allocation.
function claims.has(record, id)
  if record.call == id then return true end
  return string.find(' ' .. record.call .. ' ', ' ' .. id .. ' ', 1, true) ~= nil
end

-- Whether this call made the allocation: it is the first id.
function claims.is_first(record, id)
  return string.sub(record.call .. ' ', 1, #id + 1) == id .. ' '
end

-- Whether this call waited for the allocation, and has not asked for it since: it is the first id beside `*`.
function claims.is_awaited(record, id)
  if not record.unclaimed_ttl_ms then return false end
  return claims.is_first(record, id) or string.sub(record.call .. ' ', 1, #id + 3) == '* ' .. id .. ' '
end

-- Adds a call that is about to return the allocation.  The present calls keep their deadlines.
-- Returns the call id that is dropped for it, or nil; the caller completes that call.
function claims.add(record, id, ttl_ms)
  local first = record.call
  -- The ordinary case: one present call.
  if not record.ttls and first ~= '*' and not first:find(' ', 1, true) then
    local own = numbers.text(record.ttl_ms or 0)
    local deadline = numbers.text(record.deadline_ms or 0)
    record.call, record.ttls, record.told = first .. ' ' .. id, own .. ' ' .. numbers.text(ttl_ms), deadline .. ' 0'
    return nil
  end
  local list = read(record)
  list[#list + 1] = {id = id, ttl_ms = ttl_ms, deadline_ms = 0}
  local others, forgotten = list[1].id == '*', nil
  if #list - (others and 1 or 0) > limits.CALLS_MAX then
    local oldest = table.remove(list, others and 2 or 1)
    -- If one has not asked for it yet, it is the oldest.
    forgotten, record.unclaimed_ttl_ms = oldest.id, nil
    if others then
      list[1].ttl_ms = longer(list[1].ttl_ms, oldest.ttl_ms)
      list[1].deadline_ms = longer(list[1].deadline_ms, oldest.deadline_ms)
    else
      oldest.id = '*'
      table.insert(list, 1, oldest)
    end
  end
  write(record, list)
  return forgotten
end

-- Adds a holder whose call id may be lost with data: `*` stands for it, so that the undo of another call does not end
-- the allocation.
function claims.add_holder(record)
  if string.sub(record.call, 1, 1) == '*' then return end
  if record.releasing_ms then
    record.call = '* ' .. record.call
    return
  end
  local list = read(record)
  table.insert(list, 1, {id = '*', ttl_ms = record.ttl_ms or 0, deadline_ms = record.deadline_ms or 0})
  write(record, list)
end

-- Records that the reply to this call has the record's present ttl and deadline.
function claims.set_deadline(record, id)
  if not record.ttls then return end
  local deadlines = record.told
  -- The ordinary case: it was added in this call.
  if deadlines:sub(-2) == ' 0' and record.call:sub(-#id - 1) == ' ' .. id then
    record.told = deadlines:sub(1, -2) .. numbers.text(record.deadline_ms or 0)
    return
  end
  local list = read(record)
  for i = 1, #list do
    if list[i].id == id then list[i].deadline_ms = record.deadline_ms or 0 end
  end
  write(record, list)
end

-- Records the time to live that a call requests, where others have the allocation, too.
function claims.set_ttl(record, id, ttl_ms)
  if not record.ttls then return end
  local list = read(record)
  for i = 1, #list do
    if list[i].id == id then list[i].ttl_ms = ttl_ms end
  end
  write(record, list)
end

-- Records the present ttl and deadline for all calls, as a reply without a call id had them.
function claims.set_deadlines(record)
  if not record.ttls then return end
  local list = read(record)
  for i = 1, #list do list[i].deadline_ms = record.deadline_ms or 0 end
  write(record, list)
end

-- Extends, by the time of these gaps of the clock, each deadline that a reply gave before the gap was over.
function claims.defer(record, gaps, asserted_ms)
  if not record.ttls then return end
  local list = read(record)
  for i = 1, #list do
    for n = 1, #gaps do
      local from_ms, to_ms = gaps[n][1], gaps[n][2]
      local deadline_ms = list[i].deadline_ms
      if deadline_ms > from_ms and asserted_ms < to_ms then
        list[i].deadline_ms = records.cut(deadline_ms + to_ms - from_ms, record.ends_ms)
      end
    end
  end
  write(record, list)
end

-- A renewal has no call id, so each call with a lease gets this deadline if it is later.  With `shorten` all get it.
-- Returns the latest deadline of a lease; 0 if there is none.
function claims.renew(record, deadline_ms, shorten)
  if not record.ttls then return record.deadline_ms or 0 end
  local list, latest = read(record), 0
  for i = 1, #list do
    local one = list[i]
    if shorten or one.deadline_ms > 0 then
      one.deadline_ms = shorten and deadline_ms or math.max(one.deadline_ms, deadline_ms)
      if one.ttl_ms == 0 then one.ttl_ms = record.ttl_ms end
      latest = math.max(latest, one.deadline_ms)
    end
  end
  write(record, list)
  return latest
end

-- The longest requested time to live of a lease; nil if there is none.
function claims.lease_ttl(record)
  local longest = nil
  for _, one in ipairs(record.ttls and read(record) or {}) do
    if one.deadline_ms > 0 and one.ttl_ms > 0 then longest = math.max(longest or 0, one.ttl_ms) end
  end
  return longest
end

-- Removes a call.  False if none is left; else the record gets the ttl and deadline of the remaining calls.
function claims.remove(call, record, id)
  local list, left = read(record), {}
  for i = 1, #list do
    if list[i].id ~= id then left[#left + 1] = list[i] end
  end
  if #left == 0 then return false end
  records.edit(call, record)
  if not record.ttls then
    -- Its release has begun: the deadlines of the calls no longer count.
    for i = 1, #left do left[i] = left[i].id end
    record.call = table.concat(left, ' ')
    return true
  end
  write(record, left)
  local ttl_ms, deadline_ms = left[1].ttl_ms, left[1].deadline_ms
  for i = 2, #left do
    ttl_ms, deadline_ms = math.max(ttl_ms, left[i].ttl_ms), longer(deadline_ms, left[i].deadline_ms)
  end
  if deadline_ms == 0 then
    record.ttl_ms, record.deadline_ms = nil, nil
  else
    record.ttl_ms, record.deadline_ms = ttl_ms, records.cut(deadline_ms, record.ends_ms)
  end
  return true
end

return claims
