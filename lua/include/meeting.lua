--@include due
--@include refusal
--@include guard
--@include recovery
-- meeting: the part of `allocate` for items that meet something.  It stands in the midst of that script and uses its
-- locals: `settle` decides an item, `tell` and `save` write what only this part can have changed.
meeting = {stopped = false}
-- `assured[i]` is the fence that item i was told is live.
local changed, replayed, assured = {}, {}, {}
local base_revision = read_revision
if alarm then
  -- The first item meets it, so nothing has been granted before.
  recovery.begin(alarm, mark_fence, run_id)
  base_revision = account.revision
end
due.open(pool, deadlines, now, schema.RECLAIM_INLINE_MAX, live)

local function slice(first, to)
  local part = {}
  for at = first, to do part[#part + 1] = argv[at] end
  return part
end

-- What was granted in this very call, as a record.
local function record_of(new)
  local i = new.i
  local item = items[i]
  local record = {
    call = new.shared and '' or argv[item + CALL], owner = argv[item + OWNER], fence = new.fence, granted_ms = now,
    new = new, amounts = {},
    ttl_ms = new.ttl_ms, deadline_ms = new.deadline_ms or nil,
    list = slice(item + PAIRS, last_pair[i] + 1), meta = slice(last_pair[i] + 2, last[i]),
  }
  for at = 1, #record.list, 2 do record.amounts[record.list[at]] = tonumber(record.list[at + 1]) end
  return record
end

local function same_request(i, record)
  local first = items[i] + PAIRS
  if #record.list ~= last_pair[i] + 2 - first or record.owner ~= argv[items[i] + OWNER] then return false end
  for pair = first, last_pair[i], 2 do
    if record.amounts[argv[pair]] ~= tonumber(argv[pair + 1]) then return false end
  end
  return true
end

-- Its deadline becomes no earlier than now + ttl; with a ttl of 0 it is pinned.  And it is no longer one call's alone:
-- two callers know of it, and the withdrawal of the one must not end what the other was told it has.
local function share(i, key, record)
  local ttl_ms, was_shared = argv[items[i] + TTL_MS], record.call == ''
  local extends = record.deadline_ms and (ttl_ms == '0' or now + ttl_ms > record.deadline_ms)
  if was_shared and not extends then return end
  record.call, record.told = '', record.told or record.call
  if extends then
    record.ttl_ms, record.deadline_ms = ttl_ms, ttl_ms ~= '0' and now + ttl_ms or nil
    record.had_gap, record.gap_ms = record.gap_ms, nil
  end
  if record.new then
    -- Written with this call's grants.
    record.new.ttl_ms, record.new.deadline_ms, record.new.shared = record.ttl_ms, record.deadline_ms, true
  else
    if extends and ttl_ms == '0' then
      record.now_pinned = true
      ledger.bump()
    end
    changed[#changed + 1] = {key, record}
  end
end

-- A record as it is answered, with what the account adds to it.
local function told(word, record)
  return records.flat(record, {word, 'epoch', known_epoch, 'durability', durability or ''})
end

local function too_long(i)
  local ttl_ms = argv[items[i] + TTL_MS]
  return max_ttl_ms and (ttl_ms == '0' or tonumber(ttl_ms) > max_ttl_ms)
end

-- A live allocation of this id: this call's own, the same request's, or a conflict.  nil where it was past its
-- deadline and is reclaimed.
local function answer(i, key, record)
  if record.call == argv[items[i] + CALL] then
    -- Written again, so that the caller can wait for replicas to have it.
    if not record.new then replayed[#replayed + 1] = {key, record} end
    return told('replayed', record)
  end
  if too_long(i) then return {'ttl_too_long', max_ttl_ms} end
  if record.deadline_ms and record.deadline_ms <= now and not recovering
    and not gap.spares(pool, records.id(pool, key), record) then
    endings.plan_named(pool, records.id(pool, key), record, 'reclaimed', 'deadline')
    live[key] = false
    return nil
  end
  if record.releasing_ms or not same_request(i, record) then return told('conflict', record) end
  share(i, key, record)
  assured[i] = record.fence
  return told('existing', record)
end

-- What a gang asks for together, up to and with item `to`; the same id twice is one allocation.
local function asked(to)
  local sums, seen = {}, {}
  for i = 1, to do
    for pair = items[i] + PAIRS, seen[keys[KEY + i]] and 0 or last_pair[i], 2 do
      sums[argv[pair]] = (sums[argv[pair]] or 0) + tonumber(argv[pair + 1])
    end
    seen[keys[KEY + i]] = true
  end
  return sums
end

-- Charges what the items of a gang before this one asked for in vain, or takes the charge back: the numbers in which it
-- was refused count them.
local function crowd(i, sign)
  for j = 1, atomic and i - 1 or 0 do
    for pair = items[j] + PAIRS, replies[j][1] == 'aborted' and last_pair[j] or 0, 2 do
      local before = account.allocated[argv[pair]]
      if before then account.allocated[argv[pair]] = before + sign * tonumber(argv[pair + 1]) end
    end
  end
end

-- The last word of a call that was told of this very grant: a later one of the same id is not what it has.
local function existing(fence)
  return string.format('existing:%.0f', fence)
end

-- What a call that ended is told when it comes again: the same, in the numbers of now; it changes nothing.
local function again(i, record, ended_ms)
  local item = items[i]
  local lapsed = record and not recovering and record.deadline_ms and record.deadline_ms <= now
  local mine = record and not lapsed and existing(record.fence)
  local word = tombstones.told(ended, argv[item + CALL], {'denied', 'conflict', 'aborted', 'ttl_too_long', mine or nil})
  if word == 'aborted' then return {word, i} end
  if word == 'ttl_too_long' then return {word, max_ttl_ms or 0} end
  if word == 'denied' then
    crowd(i, 1)
    local reply = refusal(argv, item + PAIRS, last_pair[i], nil, atomic and asked(i), true)
    crowd(i, -1)
    return reply
  end
  if word and record and same_request(i, record) == (word == mine) then
    if word == mine then assured[i] = record.fence end
    return told(word == mine and 'existing' or word, record)
  end
  return {'ended', ended_ms}
end

-- A reply, or false where the request fitted and is charged.
local function decide(i)
  local item, key = items[i], keys[KEY + i]
  local record = live[key]
  if record == nil then
    record = records.named(key) or false
    live[key] = record
  elseif record and record.i then
    record = record_of(record)
  end
  local mine = record and record.call == argv[item + CALL]
  local ended_ms = not mine and tombstones.find(ended, argv[item + CALL])
  if ended_ms then return again(i, record, ended_ms) end
  local answered = record and answer(i, key, record)
  if answered then return answered end
  if too_long(i) then return {'ttl_too_long', max_ttl_ms} end
  if recovering then
    return {'recovering', recovering - now, recovery.begun or redis.call('HGET', pool, 'recovering_why') or ''}
  end
  local first, to = item + PAIRS, last_pair[i]
  if take(argv, first, to) then return false end
  local reply = refusal(argv, first, to, nil, atomic and asked(i))
  if reply[2] ~= 'capacity_exceeded' then return reply end
  if due.make_room(argv, first, to) then return false end
  return due.more and {'behind'} or refusal(argv, first, to)
end

-- Nothing of a gang is granted, and its other items are told which one stopped it.
local function stop(word, stopped)
  for _, new in ipairs(granted) do
    ledger.charge(slice(items[new.i] + PAIRS, last_pair[new.i] + 1), -1)
    live[keys[KEY + new.i]] = false
  end
  granted, changed, account.revision = {}, {}, base_revision + #endings.planned + #gap.deferred
  for i = 1, count do
    if i ~= stopped then replies[i] = {word == 'behind' and 'behind' or 'aborted', stopped} end
  end
end

function meeting.settle(i)
  local reply = decide(i)
  if not reply then return false end
  local word = reply[1]
  if atomic and (word == 'denied' or word == 'conflict' or word == 'ended' or word == 'behind'
    or word == 'recovering' or word == 'ttl_too_long') then
    meeting.stopped = true
    stop(word, i)
  end
  return reply
end

-- A copy of an item that is told so in the end may still travel: it must neither be granted nor extend anything later.
local last_words = {denied = true, conflict = true, existing = true, aborted = true, ttl_too_long = true}

function meeting.prepare()
  -- What is shared now was one call's, whose own repeats are to hear so and to do no more.
  for _, change in ipairs(changed) do
    if change[2].told ~= '' then tombstones.settle(change[2].told, existing(change[2].fence)) end
  end
  for _, new in ipairs(granted) do
    if new.shared then tombstones.settle(argv[items[new.i] + CALL], existing(new.fence)) end
  end
  for i = 1, count do
    local word = replies[i][1]
    if last_words[word] and argv[items[i] + REPEATED] == '1' then
      tombstones.settle(argv[items[i] + CALL], word == 'existing' and existing(assured[i]) or word)
    end
  end
  tombstones.prepare(ended, now)
  if #changed > 0 or #replayed > 0 or #tombstones.calls > 0 or recovery.begun or #gap.deferred > 0 then
    guard(events, {deadlines, pinned}, {'HDEL', 'HSET', 'UNLINK', 'XADD', 'ZADD', 'ZREM'})
  end
end

-- What ended is told before what was granted in its place.
function meeting.tell()
  journal.save(events)
end

-- After what is new: what lasts longer, and last what vanishes.
function meeting.save()
  recovery.save()
  gap.save(deadlines)
  -- Not where a later item of this batch took the record back and was granted the id anew.
  for _, entry in ipairs(replayed) do
    if live[entry[1]] == entry[2] then redis.call('HSET', entry[1], 'call', entry[2].call) end
  end
  for _, change in ipairs(changed) do
    local key, record = change[1], change[2]
    local id = records.id(pool, key)
    if record.had_gap then redis.call('HDEL', key, 'gap_ms') end
    if record.now_pinned then
      redis.call('ZADD', pinned, record.granted_ms, id)
      redis.call('HSET', key, 'call', '')
      redis.call('HDEL', key, 'ttl_ms', 'deadline_ms')
      redis.call('ZREM', deadlines, id)
    elseif record.deadline_ms then
      redis.call('ZADD', deadlines, record.deadline_ms, id)
      redis.call('HSET', key, 'call', '', 'ttl_ms', record.ttl_ms, 'deadline_ms', record.deadline_ms)
    else
      redis.call('HSET', key, 'call', '')
    end
  end
  tombstones.save(ended, now)
  for _, new in ipairs(granted) do endings.survives[keys[KEY + new.i]] = record_of(new) end
  endings.save(deadlines, pinned)
end
