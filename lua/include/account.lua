-- account: the pool's counters, read here and now.  Wants `pool`, `now`, `epoch` and `fields` bound: 8 places for the
-- account's own fields, then for each counter its field and that of its capacity, `fields_count` in all.
-- Leaves `account` and `refused`: a word where the call ends here, for the pool is not there, is another one, or is
-- written by newer versions only.  A counter is called by the field that a record has for it:
-- `account.allocated['cpu.allocated']`.  What the pool does not count has no capacity, not one of 0.
-- `revision` grows with every change; a grant takes its fence from it.  `options` is what the pool was given beyond
-- resources, as text; `max_ttl_ms`, `durability` (nil where not, for what is told ends there) and `grace_ms`, its
-- recovery grace, are read out of it; `recovering` says until when it grants nothing.  False where not.
local account, refused = {capacity = {}, allocated = {}, revision = 0, whole = false}, false
local read_revision, state, known_epoch, options, seen_ms, offset_ms = 0, false, '', false, false, false
local max_ttl_ms, durability, grace_ms, recovering, stored_run = false, nil, false, false, ''
fields[1], fields[2], fields[3], fields[4] = 'revision', 'schema', 'state', 'whole_units'
fields[5], fields[6], fields[7], fields[8] = 'epoch', 'clock_ms', 'clock_offset_ms', 'options'
do
  local values = redis.call('HMGET', pool, unpack(fields, 1, fields_count))
  known_epoch, seen_ms, offset_ms, options = values[5] or '', values[6], values[7], values[8]
  if not values[1] then
    refused = 'unknown_pool'
  elseif epoch ~= '' and known_epoch ~= epoch then
    refused = 'other_epoch'
  elseif values[2] ~= 'schema.VERSION' and not (tonumber(values[2]) and tonumber(values[2]) < schema.VERSION) then
    refused = 'schema'
  end
  -- Who only reads goes on where the schema is newer.
  if not refused or refused == 'schema' then
    local broken = false
    read_revision = tonumber(values[1])
    if not (read_revision and read_revision >= 0 and read_revision <= schema.AMOUNT_MAX
      and read_revision % 1 == 0) then broken = 'revision' end
    for i = 9, fields_count, 2 do
      local allocated, capacity = tonumber(values[i]), tonumber(values[i + 1])
      if allocated and capacity and allocated >= 0 and allocated <= schema.AMOUNT_MAX and allocated % 1 == 0
        and capacity >= 0 and capacity <= schema.AMOUNT_MAX and capacity % 1 == 0 then
        account.allocated[fields[i]], account.capacity[fields[i]] = allocated, capacity
      elseif values[i] or values[i + 1] then
        broken = fields[i]
      end
    end
    if broken and not refused then error({err = 'INVARIANT ' .. pool .. ' has no exact amount in ' .. broken}) end
    state, account.revision = values[3], read_revision
    if values[4] then
      account.whole = {}
      for name in string.gmatch(values[4], '%S+') do account.whole[name .. '.allocated'] = true end
    end
  end
end
--@include clock
if state == 'offline' then
  -- A repair that died must not hold the pool back for ever.
  local until_ms = tonumber(redis.call('HGET', pool, 'offline_until_ms'))
  if until_ms and now >= until_ms then state = false end
end
if options then
  max_ttl_ms = tonumber(string.match(options, 'max_ttl_ms=(%d+)')) or false
  durability = string.match(options, 'durability=(%S+)')
  grace_ms = tonumber(string.match(options, 'recovery_grace_ms=(%d+)')) or false
  if grace_ms then
    local guarded = redis.call('HMGET', pool, 'recovering_until_ms', 'run_id')
    local until_ms = tonumber(guarded[1])
    recovering, stored_run = until_ms and now < until_ms and until_ms, guarded[2] or ''
  end
end
