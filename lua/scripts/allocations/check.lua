#!lua flags=no-writes
--[[
check -- Whether a request would be granted now, and if not, when at the latest.

It uses the same code as `allocate`, and asks as a request that does not wait.  Expired allocations count as free, at
most CHECK_EXPIRED_MAX of them.  With `explain`, up to EXPLAIN_DEADLINES_MAX future deadlines are added up until the
request fits, and until it could start behind those that stand before it in line.

ARGV    explain      int     1: add up the future deadlines
        priority     text    the priority of the request, '0' if it has none
        preempt      int     1: name what a request that waits would preempt
        ttl_ms       text    the time to live to be asked for, 0 pins; '': not tested
        lifetime_ms  int     the time until its hard end, 0: none; with one it may be backfilled
        scope        text    the scope to charge too; '': the pool's default, if it has one
        resources    int     R
        request      list    (field, amount)*R, R fields `<resource>.allocated`
Reply   {"fits"}
        | {"denied", code, fits_ms, {id, ...}, position, start_ms, account,
           (resource, requested, allocated, capacity)*, {kept, ...}?}
          (fits_ms, start_ms 0: not foreseeable; the ids: what it would preempt; position: its place in line, if it
          waited, 0 without `explain`)
        | {"unknown_scope", scope} | {"scope_required"}
        | {"reclaim_first"} (more have expired than this counts) | {"recovering", remaining_ms, why}
        | {"ttl_too_long", max_ttl_ms}
        | {"unknown_pool"} | {"other_epoch"} | {"offline"} | {"deleting"}
Writes  nothing
Cost    O(R + 256 * R), with explain O(768 * R)
]]
local accounts = require('accounts')
local arguments = require('arguments')
local arrivals = require('arrivals')
local clock = require('clock')
local denials = require('denials')
local estimates = require('estimates')
local expiry = require('expiry')
local limits = require('limits')
local line = require('line')
local numbers = require('numbers')
local pools = require('pools')
local preemption = require('preemption')
local quotas = require('quotas')
local records = require('records')
local recovery = require('recovery')
local requests = require('requests')
local starts = require('starts')

-- The accounts that the request would be charged to; nil and a reply if it cannot be.
local function accounts_of(call, scope, list)
  if scope == '' then scope = call.pool.scope end
  if not scope then return {call.pool}, call.pool.needs_scope and {'scope_required'} end
  local names = quotas.names(scope)
  if not names then error({err = 'CONTRACT scope is no name of a scope'}) end
  local charged = accounts.charged(call, names, list)
  return charged, not call.accounts[names[1]] and {'unknown_scope', scope}
end

-- The ids of what the request would preempt.
local function victims_of(call, charged, list, ask)
  local ids = {}
  if not ask.preempt or not call.pool.preempts then return ids end
  local place = arrivals.place_among(call, ask.priority, charged)
  for i, one in ipairs(preemption.victims(call, charged, list, ask.priority, place)) do ids[i] = one.record.id end
  return ids
end

-- The denial with what may be foreseen; `fits_ms`: the deadline by which enough will be free.
local function explain(call, charged, list, ask, reply, fits_ms)
  local victims, position, start_ms = {}, 0, 0
  if estimates.passes(reply) then
    victims = victims_of(call, charged, list, ask)
    if ask.explain then position, start_ms = estimates.turn(call, charged, list, ask.priority) end
  end
  table.insert(reply, 3, fits_ms)
  table.insert(reply, 4, victims)
  table.insert(reply, 5, position)
  table.insert(reply, 6, start_ms)
  return reply
end

-- The reply to a request that there is room for, which it has taken in memory; `blocked`: others wait before it.
local function answer_room(call, charged, list, ask, blocked)
  if not blocked then return {'fits'} end
  accounts.add_all(charged, list, -1)
  if line.fills(call, records.end_of(call, ask.lifetime_ms)) then return {'fits'} end
  return explain(call, charged, list, ask, denials.queued(charged, list), 0)
end

local function decide(call, scope, list, ask)
  local charged, refusal = accounts_of(call, scope, list)
  if refusal then return refusal end
  local place = call.pool.waits and arrivals.place_among(call, ask.priority, charged)
  local blocked = place and line.blocks(call, place, charged, list)
  if not accounts.take(charged, list) then return answer_room(call, charged, list, ask, blocked) end
  local reply, fits_ms = denials.reply(charged, list), 0
  if reply[2] == 'capacity_exceeded' then
    if not expiry.make_room(call, limits.CHECK_EXPIRED_MAX, charged, list) then
      return answer_room(call, charged, list, ask, blocked)
    end
    if call.more_expired then return {'reclaim_first'} end
    reply = denials.reply(charged, list)
    fits_ms = ask.explain and starts.after(call, {}, {charged = charged, list = list}) or 0
  end
  return explain(call, charged, list, ask, reply, fits_ms)
end

return function(call)
  clock.start(call)
  local ask = {explain = arguments.flag(call, 'explain')}
  ask.priority = arguments.signed(call, 'priority', limits.PRIORITY_MAX)
  ask.preempt = arguments.flag(call, 'preempt')
  local ttl_ms = arguments.text(call, 'ttl_ms')
  local lifetime_ms = arguments.integer(call, 'lifetime_ms')
  ask.lifetime_ms = lifetime_ms > 0 and lifetime_ms or nil
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
