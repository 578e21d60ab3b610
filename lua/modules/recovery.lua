-- recovery: the time after a loss of data in which holders assert again what they have and nothing new is granted.
local context = require('context')
local events = require('events')
local idempotency = require('idempotency')
local limits = require('limits')
local pools = require('pools')

local recovery = {}

-- A fence that no pool can have come to must not become the revision: beyond 2^53 nothing counts any more.
function recovery.believe(call, fence)
  if fence > math.max(call.pool.revision, call.now * 1000) + limits.FENCE_AHEAD_MAX then
    error({err = 'CONTRACT fence is further ahead of the pool and its clock than any grant can be'})
  end
end

-- Fences jump ahead, past any that was lost.  Without a grace that is all.
function recovery.begin(call, why, seen_fence, run_id)
  recovery.believe(call, seen_fence)
  local pool = call.pool
  pool.revision = math.max(pool.revision, seen_fence) + limits.RECOVERY_FENCES
  pool.recovery_begun = why
  if pool.grace_ms then
    pool.recovering = math.max(call.now + pool.grace_ms, pool.recovering or 0)
    pools.set(call, 'recovering_until_ms', pool.recovering)
    pools.set(call, 'recovering_why', why)
    if run_id then
      pools.set(call, 'run_id', run_id)
      pool.run_id = run_id
    end
  end
  events.add(call, pool.grace_ms and 'recovering' or 'rolled_back', nil, nil, why)
end

-- Which server this is, false where it does not tell.
function recovery.run_id(call)
  if call.run_id ~= nil then return call.run_id end
  if redis.acl_check_cmd and not redis.acl_check_cmd('INFO') then
    error({err = 'NOPERM the scripts need the command INFO'})
  end
  -- The in-process store has no INFO, and never fails over.
  local info = redis.pcall('INFO', 'server')
  call.run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or false
  return call.run_id
end

-- Whether the store has lost data, by a fence that the caller knows of the pool of an epoch, and by which server it is:
-- false, or why, and the server's run id.
function recovery.alarm(call, epoch, fence)
  local pool = call.pool
  local why, run_id = false, false
  if fence > pool.revision and epoch == pool.epoch then why = 'fences of the pool are unknown to it' end
  if pool.grace_ms then
    run_id = recovery.run_id(call)
    if run_id and pool.run_id ~= '' and run_id ~= pool.run_id then why = why or 'the server is another one' end
  end
  return why, run_id
end

-- Begins a recovery where the store has lost data, in a pool without a grace, too: there fences jump.
function recovery.check_grant(call)
  local epoch, fence = context.seen(call)
  local why, run_id = recovery.alarm(call, epoch, fence)
  if why then recovery.begin(call, why, fence, run_id) end
end

-- Begins a recovery where the pool has a grace and the store has lost data: before anything is decided that a loss
-- would make wrong; anew where a recovery is under way and more was lost.
-- By the fence that a holder knows, or else the largest that the caller does.
function recovery.check(call, epoch, fence)
  local pool = call.pool
  if not fence then epoch, fence = context.seen(call) end
  if not pool.grace_ms then return end
  local why, run_id = recovery.alarm(call, epoch, fence)
  if why then recovery.begin(call, why, fence, run_id) end
end

-- The refusal of a request for something new.
function recovery.refusal(call)
  local pool = call.pool
  local why = pool.recovery_begun or redis.call('HGET', call.key, 'recovering_why') or ''
  return {'recovering', pool.recovering - call.now, why}
end

-- Whether it should be there: live by what its holder was told, and not known to have ended.
local function is_missed(call, item)
  if item.known_ms - limits.CLOCK_STEP_MS <= call.now or item.known_ms > call.now + limits.ENDED_KEEP_MS then
    return false
  end
  local cut_ms = tonumber(redis.call('HGET', call.key, 'ended_cut_ms') or 0)
  return cut_ms <= call.now - limits.ENDED_KEEP_MS
end

-- What a holder is told whose allocation, or whose pool, is not there: it has ended, or the store has lost it.  Of an
-- item its `fence`, `epoch` ('' where the caller knows of none) and `known_ms`, the deadline that its holder knows.
function recovery.answer_absent(call, item)
  if call.refused then
    local lost = call.refused == 'unknown_pool' and item.epoch ~= '' and not redis.call('ZSCORE', call.ended, 'deleted')
    return {lost and 'pool_lost' or call.refused}
  end
  local pool = call.pool
  if item.epoch == '' or not pool.grace_ms
    or idempotency.completed_at(call, idempotency.fence_mark(item.fence)) then
    return {'unknown'}
  end
  recovery.check(call, item.epoch, item.fence)
  if not pool.recovering and is_missed(call, item) then
    recovery.begin(call, 'a lease that was live is missing', item.fence, pool.run_id)
  end
  return pool.recovering and {'missing', pool.recovering - call.now} or {'unknown'}
end

return recovery
