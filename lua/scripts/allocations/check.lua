#!lua flags=no-writes
--[[
check -- Whether a request would be granted now, and if not, when at the latest.

It uses the same code as `allocate`, and asks as a request of priority 0 that does not wait.  Expired allocations count
as free, at most CHECK_EXPIRED_MAX of them.  With `explain`, up to EXPLAIN_DEADLINES_MAX future deadlines are added up
until the request fits.

ARGV    explain      int     1: add up the future deadlines
        priority     text    the priority of the request, '0' if it has none
        preempt      int     1: name what a request that waits would preempt
        ttl_ms       text    the time to live to be asked for, 0 pins; '': not tested
        scope        text    the scope to charge too; '': the pool's default, if it has one
        resources    int     R
        request      list    (field, amount)*R, R fields `<resource>.allocated`
Reply   {"fits"}
        | {"denied", code, fits_ms, {id, ...}, account, (resource, requested, allocated, capacity)*, {kept, ...}?}
          (fits_ms 0: not foreseeable; the ids: what it would preempt)
        | {"unknown_scope", scope} | {"scope_required"}
        | {"reclaim_first"} (more have expired than this counts) | {"recovering", remaining_ms, why}
        | {"ttl_too_long", max_ttl_ms}
        | {"unknown_pool"} | {"other_epoch"} | {"offline"} | {"deleting"}
Writes  nothing
Cost    O(R + 256 * R), with explain O(512 * R)
]]
local accounts = require('accounts')
local arguments = require('arguments')
local arrivals = require('arrivals')
local clock = require('clock')
local denials = require('denials')
local expiry = require('expiry')
local limits = require('limits')
local line = require('line')
local numbers = require('numbers')
local pools = require('pools')
local preemption = require('preemption')
local quotas = require('quotas')
local records = require('records')
local recovery = require('recovery')
local removals = require('removals')
local requests = require('requests')

-- The deadline by which enough will be free, without renewals and other requests.
local function foresee(call, charged, list)
  local ahead = redis.call(
    'ZRANGEBYSCORE', call.deadlines, '(' .. numbers.text(call.now), '+inf', 'WITHSCORES', 'LIMIT', 0,
    limits.EXPLAIN_DEADLINES_MAX
  )
  for i = 1, #ahead, 2 do
    local id = ahead[i]
    removals.plan_expired(call, id, records.key(call, id), records.at_id(call, id), 'deadline')
    if not accounts.take(charged, list) then return tonumber(ahead[i + 1]) end
  end
  return 0
end

-- The accounts that the request would be charged to; nil and a reply if it cannot be.
local function accounts_of(call, scope, list)
  if scope == '' then scope = call.pool.scope end
  if not scope then return {call.pool}, call.pool.needs_scope and {'scope_required'} end
  local names = quotas.names(scope)
  if not names then error({err = 'CONTRACT scope is no name of a scope'}) end
  local charged = accounts.charged(call, names, list)
  return charged, not call.accounts[names[1]] and {'unknown_scope', scope}
end

-- The place in line before which others go first.
local function place_of(call, charged, ask)
  local names = {}
  for n = 1, #charged - 1 do names[n] = charged[n].name end
  return arrivals.place(call, ask.priority, names)
end

-- The ids of what the request would preempt.
local function victims_of(call, charged, list, ask)
  local ids = {}
  if not ask.preempt or not call.pool.preempts then return ids end
  local place = place_of(call, charged, ask)
  for i, one in ipairs(preemption.victims(call, charged, list, ask.priority, place)) do ids[i] = one.record.id end
  return ids
end

-- The reply to a request that there is room for, which it has taken in memory; `blocked`: others wait before it.
local function answer_room(call, charged, list, ask, blocked)
  if not blocked then return {'fits'} end
  accounts.add_all(charged, list, -1)
  local reply = denials.queued(charged, list)
  table.insert(reply, 3, 0)
  table.insert(reply, 4, victims_of(call, charged, list, ask))
  return reply
end

local function decide(call, scope, list, ask)
  local charged, refusal = accounts_of(call, scope, list)
  if refusal then return refusal end
  local blocked = call.pool.waits and line.blocks(call, place_of(call, charged, ask), charged, list)
  if not accounts.take(charged, list) then return answer_room(call, charged, list, ask, blocked) end
  local reply = denials.reply(charged, list)
  local fits_ms, victims = 0, {}
  if reply[2] == 'capacity_exceeded' then
    if not expiry.make_room(call, limits.CHECK_EXPIRED_MAX, charged, list) then
      return answer_room(call, charged, list, ask, blocked)
    end
    if call.more_expired then return {'reclaim_first'} end
    reply = denials.reply(charged, list)
    victims = victims_of(call, charged, list, ask)
    fits_ms = ask.explain and foresee(call, charged, list) or 0
  end
  table.insert(reply, 3, fits_ms)
  table.insert(reply, 4, victims)
  return reply
end

return function(call)
  clock.start(call)
  local ask = {explain = arguments.flag(call, 'explain')}
  ask.priority = arguments.signed(call, 'priority', limits.PRIORITY_MAX)
  ask.preempt = arguments.flag(call, 'preempt')
  local ttl_ms = arguments.text(call, 'ttl_ms')
  local scope = arguments.text(call, 'scope')
  local resources = arguments.integer(call, 'resources', limits.RESOURCES_MAX)
  if resources < 1 then arguments.refuse('resources') end
  local list = arguments.list(call, resources, 1)
  arguments.finish(call, 0)
  local wanted = pools.fields()
  local count = pools.FIELDS
  for i = 1, #list, 2 do
    local field = list[i]
    count = accounts.want(wanted, count, nil, field)
  end
  pools.open(call, wanted, count, true)
  local pool = call.pool
  if call.refused or pool.state then return {call.refused or pool.state} end
  if ttl_ms ~= '' and requests.is_too_long(call, numbers.exact(ttl_ms) or arguments.refuse('ttl_ms')) then
    return {'ttl_too_long', pool.max_ttl_ms}
  end
  if pool.recovering then return recovery.refusal(call) end
  return decide(call, scope, list, ask)
end
