-- transaction: the only module that writes.
-- Redis keeps what a script wrote before it failed, and a slot may be migrating to another node.  So everything is read
-- and decided before `commit`, nothing in `commit` depends on a reply, and it writes in one order: new data, changed
-- data, removals.  No key of a call is removed and created again.  The client checks the types of the pool's keys and
-- its rights before its first call on a connection (`check_access`).
local clock = require('clock')
local differences = require('differences')
local fair_order = require('fair_order')
local history = require('history')
local idempotency = require('idempotency')
local limits = require('limits')
local numbers = require('numbers')
local priorities = require('priorities')
local quotas = require('quotas')
local records = require('records')
local shares = require('shares')
local waiters = require('waiters')

local transaction = {}

-- Plans a change to an index or a key beside those of records: the corrections of `repair`.
function transaction.plan(call, list, value, extra)
  local planned = call[list]
  if planned then
    planned[#planned + 1] = value
    if extra then planned[#planned + 1] = extra end
  else
    call[list], call.planned = {value, extra}, true
  end
end

local function write_events(call)
  local planned, key = call.planned_events, call.events
  for i = 1, #planned do
    redis.call('XADD', key, 'MAXLEN', '~', limits.EVENTS_MAX_TEXT, '*', unpack(planned[i]))
  end
end

-- Collects the index entry of a record: one command for each index.
local function plan_index(call, record)
  local leased = record.deadline_ms
  transaction.plan(call, leased and 'new_deadlines' or 'new_pinned', leased or record.granted_ms, record.id)
end

local function write_indexes(call)
  if call.new_deadlines then redis.call('ZADD', call.deadlines, unpack(call.new_deadlines)) end
  if call.new_pinned then redis.call('ZADD', call.pinned, unpack(call.new_pinned)) end
  if call.new_ranks then redis.call('ZADD', priorities.index(call), unpack(call.new_ranks)) end
end

-- Writes a grant that is not ordinary: adopted, returned to several items of this call, or with a hard end.
local function write_whole(call, record)
  redis.call('HSET', record.key, unpack(records.flat(call, record, {})))
  plan_index(call, record)
end

-- Writes the record of a single grant that is charged to accounts beyond the pool.
local function write_charged(call, one, deadline)
  local flat = {
    'owner', one.owner, 'fence', one.fence, 'call', one.call, 'granted_ms', call.now_text, 'ttl_ms', one.ask_ms,
    'deadline_ms', deadline, unpack(call.argv, one.first, one.last),
  }
  -- To make a number a text is slow.
  local n, names, fields = #flat, one.accounts, {'account.1', 'account.2', 'account.3', 'account.4'}
  for i = 1, #names do flat[n + 2 * i - 1], flat[n + 2 * i] = fields[i] or 'account.' .. i, names[i] end
  redis.call('HSET', one.key, unpack(flat))
end

-- Writes ordinary grants, each from the arguments.
local function write_fresh(call)
  local fresh, argv, now_text, actor = call.fresh, call.argv, call.now_text, call.actor
  for i = 1, #fresh do
    local one = fresh[i]
    local id, owner, fence, first = one.id, one.owner, one.fence, one.first
    if first and actor and actor ~= owner then
      redis.call('XADD', call.events, 'MAXLEN', '~', limits.EVENTS_MAX_TEXT, '*', 'kind', 'granted', 'id', id,
        'owner', owner, 'fence', fence, 'actor', actor, unpack(argv, first, one.meta_first - 1))
    elseif first then
      redis.call('XADD', call.events, 'MAXLEN', '~', limits.EVENTS_MAX_TEXT, '*', 'kind', 'granted', 'id', id,
        'owner', owner, 'fence', fence, unpack(argv, first, one.meta_first - 1))
    end
    local deadline_ms, names = one.deadline_ms, one.accounts
    if not first or one.ttls or one.asserted_ms or one.ends_ms or one.priority
      or one.share or names and (not deadline_ms or fresh[2]) then
      write_whole(call, one)
    elseif deadline_ms then
      local deadline = numbers.text(deadline_ms)
      redis.call('ZADD', call.deadlines, deadline, id)
      if names then
        write_charged(call, one, deadline)
      else
        redis.call('HSET', one.key, 'owner', owner, 'fence', fence, 'call', one.call, 'granted_ms', now_text,
          'ttl_ms', one.ask_ms, 'deadline_ms', deadline, unpack(argv, first, one.last))
      end
    else
      redis.call('ZADD', call.pinned, now_text, id)
      redis.call('HSET', one.key, 'owner', owner, 'fence', fence, 'call', one.call, 'granted_ms', now_text,
        unpack(argv, first, one.last))
    end
  end
end

-- Writes a new entry; where one of the same id has left in this call, in its place.
local function write_waiter(waiter)
  local flat, was = waiters.flat(waiter), waiter.instead_of
  local stale = waiters.stale(was, flat)
  if was and not was.stored then redis.call('UNLINK', was.key) end
  redis.call('HSET', waiter.key, unpack(flat))
  if stale[1] then redis.call('HDEL', waiter.key, unpack(stale)) end
end

-- Writes the entries of requests that wait: new ones, and that their clients have asked again.
local function write_waiters(call)
  local line, places = call.line, {}
  for _, waiter in ipairs(line.puts) do
    if waiter then
      write_waiter(waiter)
      places[#places + 1], places[#places + 2] = waiter.place, waiter.id
    end
  end
  if places[1] then redis.call('ZADD', waiters.index(call), unpack(places)) end
  local members = waiters.changed_members(line.memberships, true)
  if members[1] then redis.call('ZADD', waiters.gangs(call), unpack(members)) end
  for _, waiter in ipairs(line.heard) do
    if not waiter.left then redis.call('HSET', waiter.key, unpack(waiters.heard(waiter))) end
  end
  for _, waiter in ipairs(line.moves) do
    if not waiter.left then redis.call('ZADD', waiters.index(call), waiter.place, waiter.id) end
  end
end

-- Writes the index of the waiters by scope, where their places follow from weights.
local function write_fair_order(call)
  local comes, goes = fair_order.changes(call.line)
  if comes[1] then redis.call('ZADD', fair_order.index(call), unpack(comes)) end
  if goes[1] then redis.call('ZREM', fair_order.index(call), unpack(goes)) end
end

-- Writes what has changed of the shares of scopes with a weight.
local function write_shares(call)
  for _, sharer in pairs(call.sharers) do
    if sharer.exists and sharer.live ~= sharer.was then redis.call('HSET', sharer.key, unpack(shares.flat(sharer))) end
  end
end

-- Removes the entries of those who wait no more, and wakes the clients of those who are granted: a hint, of which
-- neither a missing right nor an older server is an error.
local function drop_waiters(call)
  local line = call.line
  local entries, ids = {}, {}
  for n, waiter in ipairs(line.drops) do entries[n], ids[n] = waiter.key, waiter.id end
  if entries[1] then redis.call('UNLINK', unpack(entries)) end
  if ids[1] then redis.call('ZREM', waiters.index(call), unpack(ids)) end
  local members = waiters.changed_members(line.memberships, false)
  if members[1] then redis.call('ZREM', waiters.gangs(call), unpack(members)) end
  for _, id in ipairs(line.wakes) do
    redis.pcall('SPUBLISH', string.sub(call.key, 1, -5) .. 'wake:' .. id, '1')
  end
end

local function write_changed(call)
  local changed = call.changed
  for i = 1, #changed do
    local record = changed[i]
    if not record.gone then
      local sets, drops = differences.of(record)
      if record.stored.deadline_ms ~= record.deadline_ms then plan_index(call, record) end
      if sets[1] then redis.call('HSET', record.key, unpack(sets)) end
      record.drops = drops and drops[1] and drops
    end
  end
end

-- Adds what an account keeps for its scopes.
local function add_kept(account, sets, n)
  for field, amount in pairs(account.kept) do
    sets[n + 1], sets[n + 2] = string.sub(field, 1, -11) .. '.kept', amount
    n = n + 2
  end
  return n
end

local function write_accounts(call)
  -- Preallocated for two resources and the allocations, and used again for each account.
  local sets = {nil, nil, nil, nil, nil, nil}
  for _, account in pairs(call.accounts) do
    if account and account.changed then
      local n = 0
      for field, amount in pairs(account.allocated) do
        sets[n + 1], sets[n + 2] = field, amount
        n = n + 2
      end
      if account.kept_changed then n = add_kept(account, sets, n) end
      for i = 1, account.sets and #account.sets or 0 do sets[n + i] = account.sets[i] end
      redis.call('HSET', account.key, unpack(sets, 1, n + (account.sets and #account.sets or 0)))
      if account.index_in then redis.call('ZADD', account.index_in, '0', string.sub(account.name, 7)) end
    end
  end
end

-- Adds the pool's changed fields beside its counters.
local function add_pool_fields(call, sets, n)
  n = clock.add_fields(call, sets, n)
  for i = 1, call.pool_sets and #call.pool_sets or 0 do sets[n + i] = call.pool_sets[i] end
  return n + (call.pool_sets and #call.pool_sets or 0)
end

-- Writes the counters, the revision and the clock.  A changed counter always comes with a new revision.
local function write_pool(call)
  local pool, fresh = call.pool, call.fresh
  local revision, n = pool.revision, 2
  local last = fresh and fresh[#fresh]
  if last and last.granted_as == revision then revision = last.fence end
  local sets = {'revision', revision, 'clock_ms', call.now_text, nil, nil, nil, nil}
  if call.by_server then n = 4 end
  if pool.changed then
    for field, amount in pairs(pool.allocated) do
      sets[n + 1], sets[n + 2] = field, amount
      n = n + 2
    end
  end
  if pool.kept_changed then n = add_kept(pool, sets, n) end
  if pool.new_count then
    sets[n + 1], sets[n + 2] = pool.counter, pool.new_count
    n = n + 2
  end
  if call.gap or call.new_offset_ms or call.pool_sets then n = add_pool_fields(call, sets, n) end
  redis.call('HSET', call.key, unpack(sets, 1, n))
  if call.pool_drops and call.pool_drops[1] then redis.call('HDEL', call.key, unpack(call.pool_drops)) end
end

-- Adds to the counters that the call has not read.  None may fail it: a broken one, or a right that is missing.
local function write_counts(call)
  for field, n in pairs(call.counts) do redis.pcall('HINCRBY', call.key, field, n) end
end

-- Writes the points of the minute and the hour that are over.  Neither may fail the call.
local function write_point(call)
  local point = call.point
  local minute = numbers.text(call.minute_ms)
  redis.pcall('XADD', history.minutes(call), 'MAXLEN', limits.HISTORY_MINUTES_TEXT, minute, unpack(point))
  if not call.hour_ms then return end
  local hour = numbers.text(call.hour_ms)
  redis.pcall('XADD', history.hours(call), 'MAXLEN', limits.HISTORY_HOURS_TEXT, hour, unpack(point))
end

-- Removes the fields of an earlier grant's record that the record in its place does not have.
local function drop_stale_fields(call, gone, survivor)
  local kept, stale = {}, {}
  local flat = records.flat(call, survivor, {})
  for i = 1, #flat, 2 do kept[flat[i]] = true end
  for i = 1, #gone.flat, 2 do
    if not kept[gone.flat[i]] then stale[#stale + 1] = gone.flat[i] end
  end
  if #stale > 0 then redis.call('HDEL', gone.key, unpack(stale)) end
end

-- Removes stale fields of changed records, and their entry in the other index.
local function drop_changed(call)
  for i = 1, #call.changed do
    local record = call.changed[i]
    if record.drops then redis.call('HDEL', record.key, unpack(record.drops)) end
    if not record.gone and (record.stored.deadline_ms == nil) ~= (record.deadline_ms == nil) then
      transaction.plan(call, record.deadline_ms and 'old_pinned' or 'old_deadlines', record.id)
    end
  end
end

-- For an ended record whose id is granted anew in this call: its key stays, and its index entry if it is the same.
local function replace(call, gone, survivor)
  local was = gone.stored or gone
  if gone.flat then drop_stale_fields(call, gone, survivor) end
  if survivor.deadline_ms and not was.deadline_ms then transaction.plan(call, 'old_pinned', gone.id) end
  if not survivor.deadline_ms and was.deadline_ms then transaction.plan(call, 'old_deadlines', gone.id) end
end

-- The ordinary case: one allocation has ended.
local function drop_one(call, gone)
  local leased = gone.deadline_ms
  redis.call('UNLINK', gone.key)
  redis.call('ZREM', leased and call.deadlines or call.pinned, gone.id)
end

local function drop_several(call)
  for i = 1, #call.removed do
    local gone = call.removed[i]
    local survivor = call.records[gone.key]
    if survivor and survivor.fresh then
      replace(call, gone, survivor)
    else
      local leased = (gone.stored or gone).deadline_ms
      if gone.unlinks then transaction.plan(call, 'unlinks', gone.key) end
      if leased or not gone.fence then transaction.plan(call, 'old_deadlines', gone.id) end
      if not leased then transaction.plan(call, 'old_pinned', gone.id) end
    end
  end
end

-- Writes the corrections of `repair`, and the expiry of the completed calls when a pool is created or deleted.
local function write_rest(call)
  for _, one in ipairs(call.counters or {}) do redis.call('HSET', one.key, one.field, one.sum) end
  for _, key in ipairs(call.persists or {}) do redis.call('PERSIST', key) end
  if call.deletes_pool then
    redis.call('UNLINK', call.key, call.events, priorities.index(call), fair_order.index(call), waiters.gangs(call),
      history.minutes(call), history.hours(call))
  end
  if call.ended_stays then
    redis.call('PERSIST', call.ended)
    redis.call('ZREM', call.ended, 'deleted')
  end
  -- The only key with a time to live: of a deleted pool.
  if call.ended_expires then redis.call('PEXPIRE', call.ended, limits.ENDED_KEEP_MS) end
end

-- Whether to trim old completed calls: every TRIM_EVERY revisions, and if nothing else is written.
local function is_trim_due(call, revision, read_revision)
  if revision == read_revision then return call.completed or call.trims end
  return revision - revision % limits.TRIM_EVERY > read_revision or call.trims
end

-- Checks the rights that only these writes need: nothing may fail once something is written.
local function check_rest(call)
  local commands = {
    (call.persists or call.ended_stays) and 'PERSIST' or 'HSET', call.ended_expires and 'PEXPIRE' or 'HSET', 'HGETALL',
  }
  -- The in-process server has no users.
  for i = 1, redis.acl_check_cmd and #commands or 0 do
    if not redis.acl_check_cmd(commands[i]) then
      error({err = 'NOPERM the scripts need the command ' .. commands[i]})
    end
  end
end

-- Executes the removals.
local function drop(call)
  local removed = call.removed
  if call.changed then drop_changed(call) end
  if removed then
    local gone = removed[1]
    if not removed[2] and not call.planned and gone.fence and not gone.stored and not call.records[gone.key] then
      drop_one(call, gone)
    else
      drop_several(call)
    end
    if call.pool.preempts then priorities.plan_removed(call, transaction.plan) end
  end
  if not call.planned then return end
  if call.unlinks then redis.call('UNLINK', unpack(call.unlinks)) end
  if call.old_deadlines then redis.call('ZREM', call.deadlines, unpack(call.old_deadlines)) end
  if call.old_pinned then redis.call('ZREM', call.pinned, unpack(call.old_pinned)) end
  if call.old_ranks then redis.call('ZREM', priorities.index(call), unpack(call.old_ranks)) end
  if call.old_scopes then redis.call('ZREM', quotas.index(call), unpack(call.old_scopes)) end
  if call.old_waiters then redis.call('ZREM', waiters.index(call), unpack(call.old_waiters)) end
  for i = 1, call.old_fields and #call.old_fields or 0, 2 do
    redis.call('HDEL', call.old_fields[i], call.old_fields[i + 1])
  end
end

function transaction.commit(call)
  local pool = call.pool
  local revision, read_revision = pool.revision, pool.read_revision
  local rest = call.upkeep or call.counters or call.persists
  if rest then check_rest(call) end
  local is_due = is_trim_due(call, revision, read_revision)
  if is_due then idempotency.trim(call) end
  local has_pool = not call.refused and not call.deletes_pool
  local writes_pool = has_pool and (revision ~= read_revision or call.planned_events or call.pool_sets
    or call.pool_drops or call.clock_due and call.changed)
  if writes_pool or has_pool and call.counts then writes_pool = history.plan(call) or writes_pool end
  if call.planned_events and not call.deletes_pool then write_events(call) end
  local completed = call.completed
  if completed then redis.call('ZADD', call.ended, unpack(completed)) end
  if call.fresh then
    write_fresh(call)
    if pool.preempts then priorities.plan_fresh(call, transaction.plan) end
  end
  if call.line then
    write_waiters(call)
    write_fair_order(call)
  end
  if call.changed then write_changed(call) end
  if call.planned then write_indexes(call) end
  if call.accounts and revision ~= read_revision then write_accounts(call) end
  if call.sharers then write_shares(call) end
  if call.point then write_point(call) end
  if writes_pool then write_pool(call) end
  if has_pool and call.counts then write_counts(call) end
  if call.removed or call.changed or call.planned then drop(call) end
  if call.line then drop_waiters(call) end
  if call.forgets then redis.call('UNLINK', history.minutes(call), history.hours(call)) end
  if call.forgotten then redis.call('ZREM', call.ended, unpack(call.forgotten)) end
  if rest then write_rest(call) end
end

return transaction
