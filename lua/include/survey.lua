--@include records
-- survey: reads records against their indexes, sums what they took, and notes what contradicts.
-- A finding may come with the writes that mend it; `audit` only looks, `repair` applies them.
local survey = {sums = {}, records = 0, findings = {}, total = 0, mends = {}, fences = {}, ids = {}}

function survey.find(kind, subject, detail, mend)
  survey.total = survey.total + 1
  if survey.total <= schema.FINDINGS_MAX then
    local findings, n = survey.findings, #survey.findings
    findings[n + 1], findings[n + 2], findings[n + 3] = kind, subject, detail
  end
  if mend then survey.mends[#survey.mends + 1] = {kind, subject, detail, mend} end
end

function survey.count(record)
  survey.records = survey.records + 1
  for field, amount in pairs(record.amounts) do
    survey.sums[field] = (survey.sums[field] or 0) + amount
  end
end

-- The place that a record belongs to by what it says itself.
local function home(record, deadlines, pinned)
  if record.deadline_ms then return deadlines, record.deadline_ms, pinned end
  return pinned, record.granted_ms, deadlines
end

local function inspect(record, key, id, revision)
  if redis.call('PTTL', key) >= 0 then
    survey.find('expiring_record', id, 'the key would vanish by itself', function() redis.call('PERSIST', key) end)
  end
  local fence = string.format('%.0f', record.fence)
  if record.fence > revision then survey.find('fence_ahead', id, fence) end
  if survey.fences[fence] then survey.find('fence_twice', id, fence) end
  survey.fences[fence] = true
end

-- One entry of an index.
function survey.entry(pool, index, id, score, deadlines, pinned, revision)
  local key = records.key(pool, id)
  local record = records.found(pool, id)
  survey.ids[#survey.ids + 1] = id
  if not record then
    survey.find('missing_record', id, 'indexed, and not there', function() redis.call('ZREM', index, id) end)
    return
  end
  if record.broken then
    survey.find('broken_record', id, record.broken, function()
      redis.call('ZREM', deadlines, id)
      redis.call('ZREM', pinned, id)
      redis.call('UNLINK', key)
    end)
    return
  end
  local right, right_score, wrong = home(record, deadlines, pinned)
  local function move()
    redis.call('ZADD', right, right_score, id)
    redis.call('ZREM', wrong, id)
  end
  if index ~= right then
    local twice = redis.call('ZSCORE', right, id)
    survey.find(twice and 'indexed_twice' or 'wrong_index', id, 'the record says otherwise', move)
    if twice then return end
  elseif score ~= right_score then
    survey.find('wrong_instant', id, string.format('index %.0f, record %.0f', score, right_score), move)
  end
  inspect(record, key, id, revision)
  survey.count(record)
end

-- A record that no index knows.  A whole one is somebody's: it is indexed again.
function survey.orphan(pool, key, deadlines, pinned, counted)
  local id, record = records.id(pool, key), records.read(key)
  if not record or redis.call('ZSCORE', deadlines, id) or redis.call('ZSCORE', pinned, id) then return end
  local whole = not record.broken
  for field in pairs(record.amounts) do whole = whole and counted[field] end
  local index, score = home(record, deadlines, pinned)
  survey.find('orphan_record', id, whole and 'in no index' or record.broken or 'of a resource not counted', function()
    if whole then redis.call('ZADD', index, score, id) else redis.call('UNLINK', key) end
  end)
  if whole then survey.count(record) end
end
