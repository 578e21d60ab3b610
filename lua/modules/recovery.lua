-- recovery: detects a loss of data, after which holders adopt their allocations and nothing new is granted.
local context = require('context')
local events = require('events')
local idempotency = require('idempotency')
local limits = require('limits')
local pools = require('pools')

local recovery = {}

-- Raises an error for a fence that no pool can have reached: as revision, it would pass 2^53, the limit of integers.
function recovery.check_fence(call, fence)
  if fence > math.max(call.pool.revision, call.now * 1000) + limits.FENCE_AHEAD_MAX then
    error({err = 'CONTRACT fence is further ahead of the pool and its clock than any grant can be'})
  end
end

-- Fences jump past any that was lost.  In a pool without a recovery grace nothing else changes.
function recovery.begin(call, why, seen_fence, run_id)
  recovery.check_fence(call, seen_fence)
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

-- The server's run id; false if it is not available.
function recovery.run_id(call)
  if call.run_id ~= nil then return call.run_id end
  if redis.acl_check_cmd and not redis.acl_check_cmd('INFO') then
    error({err = 'NOPERM the scripts need the command INFO'})
  end
  -- The in-process server has no INFO, and no failover.
  local info = redis.pcall('INFO', 'server')
  call.run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or false
  return call.run_id
end

-- Whether the server has lost data, by a fence that the caller has of this epoch, and by the server's run id: false, or
-- the reason; second result: the run id.
function recovery.detect_loss(call, epoch, fence)
  local pool = call.pool
  local why, run_id = false, false
  if fence > pool.revision and epoch == pool.epoch then why = 'fences of the pool are unknown to it' end
  if pool.grace_ms then
    run_id = recovery.run_id(call)
    if run_id and pool.run_id ~= '' and run_id ~= pool.run_id then why = why or 'the server is another one' end
  end
  return why, run_id
end

-- Begins a recovery if the server has lost data; in a pool without a grace only the fences jump.
function recovery.check_grant(call)
  local epoch, fence = context.seen(call)
  local why, run_id = recovery.detect_loss(call, epoch, fence)
  if why then recovery.begin(call, why, fence, run_id) end
end

-- Begins a recovery if the pool has a grace and the server has lost data, before any decision that the loss would make
-- wrong; begins again if more was lost during a recovery.
-- Compares the fence of a holder, else the caller's watermark.
function recovery.check(call, epoch, fence)
  local pool = call.pool
  if not fence then epoch, fence = context.seen(call) end
  if not pool.grace_ms then return end
  local why, run_id = recovery.detect_loss(call, epoch, fence)
  if why then recovery.begin(call, why, fence, run_id) end
end

-- The reply that refuses a new grant during a recovery.
function recovery.refusal(call)
  local pool = call.pool
  local why = pool.recovery_begun or redis.call('HGET', call.key, 'recovering_why') or ''
  return {'recovering', pool.recovering - call.now, why}
end

-- Whether the allocation should exist: live by its holder's deadline, and not recorded as ended.
local function is_missed(call, item)
  if item.known_ms - limits.CLOCK_STEP_MS <= call.now or item.known_ms > call.now + limits.ENDED_KEEP_MS then
    return false
  end
  local cut_ms = tonumber(redis.call('HGET', call.key, 'ended_cut_ms') or 0)
  return cut_ms <= call.now - limits.ENDED_KEEP_MS
end

-- The reply for an item whose allocation, or whose pool, does not exist: it has ended, or the server has lost it.  It
-- uses the item's `fence`, `epoch` ('' if the caller has none) and `known_ms`, the holder's deadline.
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
