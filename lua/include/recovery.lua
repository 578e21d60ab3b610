--@include journal
-- recovery: the time after a loss of data in which holders assert again what they have and nothing new is granted.
-- Wants `pool`, `now`, `account`, `grace_ms` and `recovering` bound.
local recovery = {begun = false}

-- A fence that no pool can have come to must not become the revision: beyond 2^53 nothing counts any more.
function recovery.believe(fence)
  if fence > math.max(account.revision, now * 1000) + schema.FENCE_AHEAD_MAX then
    error({err = 'CONTRACT fence is further ahead of the pool and its clock than any grant can be'})
  end
end

-- Fences jump ahead, past any that was lost.  Without a grace that is all.
function recovery.begin(why, mark_fence, run_id)
  recovery.believe(mark_fence)
  account.revision = math.max(account.revision, mark_fence) + schema.RECOVERY_FENCES
  recovery.begun, recovery.run_id = why, run_id
  if grace_ms then recovering = math.max(now + grace_ms, recovering or 0) end
  journal.add(grace_ms and 'recovering' or 'rolled_back', nil, nil, why)
end

function recovery.save()
  if not (recovery.begun and grace_ms) then return end
  redis.call('HSET', pool, 'recovering_until_ms', recovering, 'recovering_why', recovery.begun)
  if recovery.run_id then redis.call('HSET', pool, 'run_id', recovery.run_id) end
end
