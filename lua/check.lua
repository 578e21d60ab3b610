#!lua flags=no-writes
--[[
check -- Would this request be granted now?  And if not, when at the latest?

The same code as in `allocate` decides; allocations past their deadline count as free, at most CHECK_DUE_MAX of them.
With `explain`, the next EXPLAIN_DEADLINES_MAX deadlines are followed until the request fits.

KEYS    pool         hash    the pool's account
        deadlines    zset    id -> deadline_ms
ARGV    now_ms       int     0: the server's clock
        epoch        text    the only pool meant, '' any
        explain      int     1: follow the deadlines ahead
        request      list    R, (field, amount)*R, R fields `<resource>.allocated`
Reply   {"fits"} | {"denied", code, fits_ms, (resource, requested, allocated, capacity)*}; fits_ms 0: not foreseeable
        | {"behind"} (more is due than this looks at)
        | {"recovering", remaining_ms, why}
        | {"unknown_pool"} | {"other_epoch"} | {"offline"} | {"deleting"}
Writes  nothing
Cost    O(R + 256 * R), with explain O(512 * R)
]]
local pool, deadlines = KEYS[1], KEYS[2]
local argv, now_ms, epoch, explain = ARGV, ARGV[1], ARGV[2], ARGV[3] == '1'
local FIRST, LAST = 5, #ARGV - 1

--@include now
local resources = tonumber(argv[4])
if not (resources and resources >= 1 and resources <= schema.RESOURCES_MAX and LAST == FIRST + 2 * resources - 2) then
  error({err = 'CONTRACT the request is malformed'})
end
local fields, fields_count = {false, false, false, false, false, false, false, false}, 8
for pair = FIRST, LAST, 2 do
  fields[fields_count + 1], fields[fields_count + 2] = argv[pair], string.sub(argv[pair], 1, -11) .. '.capacity'
  fields_count = fields_count + 2
end
--@include account
--@include take
--@include due
--@include refusal
if refused and refused ~= 'schema' then return {refused} end
if state then return {state} end
if recovering then return {'recovering', recovering - now, redis.call('HGET', pool, 'recovering_why') or ''} end

if take(argv, FIRST, LAST) then return {'fits'} end
local denial = refusal(argv, FIRST, LAST)
if denial[2] == 'capacity_exceeded' then
  due.open(pool, deadlines, now, schema.CHECK_DUE_MAX, {})
  if due.make_room(argv, FIRST, LAST) then return {'fits'} end
  if due.more then return {'behind'} end
  denial = refusal(argv, FIRST, LAST)
end

-- The deadline by which enough will have come back, if nobody renews and nobody else comes.
local function foresee()
  local ahead = redis.call(
    'ZRANGEBYSCORE', deadlines, '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES', 'LIMIT', 0,
    schema.EXPLAIN_DEADLINES_MAX
  )
  for i = 1, #ahead, 2 do
    endings.plan_due(pool, ahead[i], records.found(pool, ahead[i]), 'deadline')
    if take(argv, FIRST, LAST) then return tonumber(ahead[i + 1]) end
  end
  return 0
end

local reply = {'denied', denial[2], explain and denial[2] == 'capacity_exceeded' and foresee() or 0}
for i = 3, #denial do reply[i + 1] = denial[i] end
return reply
