-- repeats: the reply to a request whose id is live or whose call is completed.
local claims = require('claims')
local expiry = require('expiry')
local idempotency = require('idempotency')
local pools = require('pools')
local records = require('records')
local removals = require('removals')
local requests = require('requests')

local repeats = {}

-- Sets the deadline to at least now + ttl, or to the hard end if that is earlier; 0 pins.
local function extend(call, record, ask_ms)
  if not record.deadline_ms then return end
  local deadline_ms = records.cut(call.now + ask_ms, record.ends_ms)
  if ask_ms == 0 then
    record.ttl_ms, record.deadline_ms, record.gap_ms = nil, nil, nil
    pools.next_revision(call)
    call.tentative = (call.tentative or 0) + 1
  elseif deadline_ms > record.deadline_ms then
    record.ttl_ms, record.deadline_ms, record.gap_ms = ask_ms, deadline_ms, nil
  end
end

-- Keeps the record's state in an atomic batch that may still be stopped.
local function remember(call, record)
  if not call.atomic then return end
  local shared = call.shared or {}
  shared[#shared + 1], call.shared = {
    record = record, call = record.call, ttl_ms = record.ttl_ms, deadline_ms = record.deadline_ms,
    asserted_ms = record.asserted_ms, gap_ms = record.gap_ms, ttls = record.ttls, told = record.told,
    unclaimed_ttl_ms = record.unclaimed_ttl_ms,
  }, shared
end

-- A reply that returns a live allocation counts as an assertion of it.  Of one that is not claimed it is stored always.
local function assert_live(call, record)
  if record.granted_ms ~= call.now or record.unclaimed_ttl_ms then record.asserted_ms = call.now end
end

-- The caller of a grant from the line learns of it: the requested time to live begins.
local function claim(call, request, record)
  local ask_ms = records.lasting(call, record.unclaimed_ttl_ms, record.ends_ms)
  record.unclaimed_ttl_ms = nil
  if record.releasing_ms then return end
  -- Another call has it, too: it keeps what it was told.
  if not record.ttls and ask_ms > 0 then
    -- The reply to a renewal may have had a later deadline.
    local least_ms = record.asserted_ms and record.deadline_ms or 0
    record.ttl_ms, record.gap_ms = ask_ms, nil
    record.deadline_ms = math.max(least_ms, records.cut(call.now + ask_ms, record.ends_ms))
  else
    claims.set_ttl(record, request.call, ask_ms)
    extend(call, record, ask_ms)
  end
end

local function replay(call, request, record)
  local renews = expiry.is_lapsed(call, record) and not record.releasing_ms
  -- The other calls that returned it are still to be extended by a gap.
  if renews and record.ttls then expiry.spares(call, record) end
  records.edit(call, record)
  remember(call, record)
  if claims.is_awaited(record, request.call) then
    claim(call, request, record)
  elseif renews then
    extend(call, record, records.lasting(call, request.ask_ms + 0, record.ends_ms))
  end
  claims.set_deadline(record, request.call)
  assert_live(call, record)
  record.touched = true
  return records.reply(call, claims.is_first(record, request.call) and 'replayed' or 'existing', record)
end

-- Completes a call whose id is dropped from a record for a newer one: a late copy of it must not be granted once the
-- allocation has ended.
local function forget(call, id)
  idempotency.complete(call, id)
  if not call.atomic then return end
  local calls = call.forgotten_calls or {}
  calls[id], call.forgotten_calls = true, calls
end

-- Adds another call to a live allocation.
local function share(call, request, record)
  records.edit(call, record)
  remember(call, record)
  local ask_ms = records.lasting(call, request.ask_ms + 0, record.ends_ms)
  local forgotten = claims.add(record, request.call, ask_ms)
  if forgotten then forget(call, forgotten) end
  extend(call, record, ask_ms)
  claims.set_deadline(record, request.call)
  assert_live(call, record)
  return records.reply(call, 'existing', record)
end

-- The reply for a live id.  nil if the request must be decided as if the id were absent.
function repeats.answer(call, request, record)
  local id, pool = request.call, call.pool
  local is_repeat = claims.has(record, id)
  local is_over = records.is_over(call, record)
  if is_repeat then
    if not is_over then return replay(call, request, record) end
    removals.plan(call, record, 'reclaimed', 'end')
    return {'ended', call.now}
  end
  local completed_ms = idempotency.completed_at(call, id)
  if completed_ms then return {'ended', completed_ms} end
  if pool.max_ttl_ms and requests.is_too_long(call, request.ask_ms + 0) then
    return {'ttl_too_long', pool.max_ttl_ms}
  end
  if is_over then
    removals.plan(call, record, 'reclaimed', 'end')
    return nil
  end
  local is_lapsed = expiry.is_lapsed(call, record)
  if is_lapsed and not pool.recovering and not expiry.spares(call, record) then
    removals.plan(call, record, 'reclaimed', 'deadline')
    return nil
  end
  local is_same = requests.is_same(request, record)
  if record.releasing_ms or request.exclusive or not is_same and not requests.matches(request, record) then
    return records.reply(call, 'conflict', record)
  end
  return share(call, request, record)
end

return repeats
