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
        request      list    R, (resource, amount)*R
Reply   {"fits"} | {"denied", code, fits_ms, (resource, requested, allocated, capacity)*}; fits_ms 0: not foreseeable
        | {"behind"} (more is due than this looks at)
        | {"unknown_pool"} | {"other_epoch"} | {"offline"} | {"deleting"}
Writes  nothing
Cost    O(R + 256 * R), with explain O(512 * R)
]]
--@include args
--@include clock
--@include due

local pool, deadlines = KEYS[1], KEYS[2]
local now_ms, epoch, explain = ARGV[1], ARGV[2], ARGV[3]

local now = clock.read(now_ms)
args.from(4)
local names, amounts = args.amounts(schema.RESOURCES_MAX)
args.finish(2, 0)

local refused = account.open(pool, epoch, names)
if refused and refused ~= 'schema' then return {refused} end
if account.state then return {account.state} end

local nothing = {}
due.open(pool, deadlines, now, schema.CHECK_DUE_MAX, {})
if decide.fits(names, amounts, nothing) then return {'fits'} end
local denial = decide.refusal(names, amounts, nothing, nothing)
if denial[2] == 'capacity_exceeded' then
  if due.make_room(names, amounts, nothing) then return {'fits'} end
  if due.more then return {'behind'} end
  denial = decide.refusal(names, amounts, nothing, nothing)
end

-- The deadline by which enough will have come back, if nobody renews and nobody else comes.
local function foresee()
  local ahead = redis.call(
    'ZRANGEBYSCORE', deadlines, '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES', 'LIMIT', 0,
    schema.EXPLAIN_DEADLINES_MAX
  )
  for i = 1, #ahead, 2 do
    local key = records.key(pool, ahead[i])
    endings.plan_due(ahead[i], key, records.read(key))
    if decide.fits(names, amounts, nothing) then return tonumber(ahead[i + 1]) end
  end
  return 0
end

local reply = {'denied', denial[2], explain == '1' and denial[2] == 'capacity_exceeded' and foresee() or 0}
for i = 3, #denial do reply[i + 1] = denial[i] end
return reply
