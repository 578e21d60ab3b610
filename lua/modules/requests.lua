-- requests: one item of an allocate.  Its arguments are not copied: a grant is written from them.
-- {i, key, call, repeated, owner, ask_ms, list, first, meta_first, last, accounts, exclusive, replaces,
-- replaces_fence, scope, lifetime_ms, wait_ms, priority}: `ask_ms` is text, '0' pins; `list` has its fields and
-- amounts, alternating; `accounts` the names of those beyond the pool, or nil; `exclusive` is set if a live allocation
-- of the id is a conflict; `replaces` is the key of the record to replace, or nil; `scope` its scope, or nil;
-- `lifetime_ms` the time until its hard end, or nil; `wait_ms` how long it may wait in line, or nil; `priority` its
-- priority, 0 if nil; `preempt` whether it may take room from lower ones; `estimate` whether a denial says when it may
-- be over.  Once granted it is a record (`records`) with `fresh`.
local accounts = require('accounts')
local context = require('context')
local limits = require('limits')
local numbers = require('numbers')
local pools = require('pools')
local quotas = require('quotas')
local records = require('records')
local shares = require('shares')

local requests = {}

local function refuse(i, what)
  error({err = 'CONTRACT item ' .. i .. ': ' .. what})
end

-- Whether a text is an amount or a duration in plain digits; without a conversion.
local function is_whole(text)
  return text:find('^[1-9]%d*$') and (#text < 16 or #text == 16 and text <= '9007199254740991')
end

-- Adds an account beyond the pool.
local function add_account(call, request, name)
  local names, kind = request.accounts or {nil, nil, nil, nil}, name:match('^(%l+):.')
  local count = #names
  for n = 1, count do
    if names[n] == name then kind = nil end
  end
  if not kind or kind == 'allocation' or kind == 'quota' then
    refuse(request.i, 'account is no name of an account, or named twice')
  end
  names[count + 1], request.accounts = name, names
  call.declared = call.declared or {}
  call.declared[call.key:sub(1, -5) .. name] = true
end

-- Charges the request to a scope, too: its accounts come first.
function requests.charge_to(request, scope)
  local names = quotas.names(scope)
  if not names then refuse(request.i, 'scope is no name of a scope') end
  for i = 1, request.accounts and #request.accounts or 0 do names[#names + 1] = request.accounts[i] end
  request.scope, request.accounts = scope, names
end

-- Sets the live allocation to replace, from its fence and id.
local function set_replaces(call, request, value)
  local fence, id = string.match(value, '^([1-9]%d*):(.+)$')
  local key = id and string.sub(call.key, 1, -5) .. 'allocation:' .. id
  if not key or #fence > 16 or key == request.key or request.replaces or call.atomic then
    refuse(request.i, 'replaces is no fence and id of another allocation, named twice, or in an atomic batch')
  end
  request.replaces, request.replaces_fence = key, fence + 0
  call.declared = call.declared or {}
  call.declared[key] = true
end

-- Sets how long the request may wait, or its priority.
local function set_wait(request, name, value)
  local number = string.find(value, '^%-?%d+$') and #value < 16 and value + 0
  local least, most = 1, limits.WAIT_MAX_MS
  if name == 'priority' then least, most = -limits.PRIORITY_MAX, limits.PRIORITY_MAX end
  if not number or number < least or number > most then refuse(request.i, name .. ' is no integer in its bounds') end
  request[name == 'wait' and 'wait_ms' or name] = (name == 'wait' or number ~= 0) and number or nil
end

local function set_lifetime(request, value)
  local whole = is_whole(value)
  if not whole or request.lifetime_ms then
    refuse(request.i, 'lifetime_ms is no integer in its bounds, or named twice')
  end
  request.lifetime_ms = value + 0
end

-- Reads the options, (name, value) pairs.
local function read_options(call, request, first, options)
  local argv, scope = call.argv, nil
  for at = first, first + 2 * options - 2, 2 do
    local name, value = argv[at], argv[at + 1]
    if name == 'account' then
      add_account(call, request, value)
    elseif name == 'scope' and not scope then
      scope = value
    elseif name == 'exclusive' then
      if value ~= '1' or request.exclusive then refuse(request.i, 'exclusive is not 1, or named twice') end
      request.exclusive = true
    elseif name == 'replaces' then
      set_replaces(call, request, value)
    elseif name == 'wait' or name == 'priority' then
      set_wait(request, name, value)
    elseif name == 'preempt' or name == 'estimate' then
      if value ~= '1' or request[name] then refuse(request.i, name .. ' is not 1, or named twice') end
      request[name] = true
    elseif name == 'lifetime_ms' then
      set_lifetime(request, value)
    else
      refuse(request.i, 'unknown option ' .. name)
    end
  end
  if request.preempt and call.atomic then refuse(request.i, 'preempt is not for an atomic batch') end
  if request.estimate and call.atomic then refuse(request.i, 'estimate is not for an atomic batch') end
  if request.preempt and not request.wait_ms then refuse(request.i, 'preempt is for a request that waits') end
  if request.wait_ms and request.replaces then refuse(request.i, 'wait is not for a request that replaces') end
  if scope then requests.charge_to(request, scope) end
end

-- Raises the error for an invalid item, with the name of its argument.
local function refuse_item(argv, at, i)
  local ttl = argv[at + 3]
  if not ttl or ttl ~= '0' and not is_whole(ttl) then refuse(i, 'ttl_ms is no integer in its bounds') end
  local bounds = {{'resources', 1, limits.RESOURCES_MAX}, {'metadata', 0, limits.METADATA_ENTRIES_MAX},
    {'options', 0, limits.OPTIONS_MAX}}
  for n = 1, 3 do
    local count = tonumber(argv[at + 3 + n])
    if not (count and count >= bounds[n][2] and count <= bounds[n][3] and count % 1 == 0) then
      refuse(i, bounds[n][1] .. ' is no integer in its bounds')
    end
  end
  refuse(i, 'is malformed')
end

local function check_counts(argv, at, i, resources, metadata, options)
  if not (resources and resources >= 1 and resources <= limits.RESOURCES_MAX and resources % 1 == 0
    and metadata and metadata >= 0 and metadata <= limits.METADATA_ENTRIES_MAX and metadata % 1 == 0
    and options and options >= 0 and options <= limits.OPTIONS_MAX and options % 1 == 0) then
    refuse_item(argv, at, i)
  end
end

local function check_list(list, i)
  for n = 1, #list, 2 do
    local whole = is_whole(list[n + 1])
    if not whole then refuse(i, 'amount is no integer in its bounds') end
    local field = list[n]
    for other = 1, n - 2, 2 do
      if list[other] == field then refuse(i, 'resource named twice') end
    end
  end
end

local function read_one(call, i, argc)
  local argv, at = call.argv, call.at + 1
  local ttl, resources, metadata, options = argv[at + 3], argv[at + 4], argv[at + 5], argv[at + 6]
  if ttl ~= '0' then
    if not ttl then refuse_item(argv, at, i) end
    local whole = is_whole(ttl)
    if not whole then refuse_item(argv, at, i) end
  end
  -- The ordinary counts need no conversion.
  resources = resources == '2' and 2 or tonumber(resources)
  metadata = metadata == '0' and 0 or tonumber(metadata)
  options = options == '0' and 0 or tonumber(options)
  check_counts(argv, at, i, resources, metadata, options)
  local first = at + 7
  local meta_first = first + 2 * resources
  local last = meta_first + 2 * metadata - 1
  local key, id = call.keys[context.KEYS + i], argv[at]
  call.at = last + 2 * options
  if call.at > argc or id == '' or not key then refuse(i, 'is malformed, or has no key') end
  local list = {unpack(argv, first, meta_first - 1)}
  check_list(list, i)
  local request = {
    i = i, key = key, call = id, owner = argv[at + 2], ask_ms = ttl, list = list, first = first,
    meta_first = meta_first, last = last, id = nil, fence = nil, granted_as = nil, granted_ms = nil, ttl_ms = nil,
    deadline_ms = nil, fresh = nil,
  }
  if options > 0 then read_options(call, request, last + 1, options) end
  return request
end

local function refuse_keys()
  error({err = 'CONTRACT keys do not match the items'})
end

-- Checks the keys after those of the items: of accounts and of records to replace, each once.
local function check_keys(call, items)
  local left = #call.keys - context.KEYS - items
  for _ in pairs(call.declared or {}) do left = left - 1 end
  for at = context.KEYS + items + 1, #call.keys do
    if not (call.declared and call.declared[call.keys[at]]) then refuse_keys() end
    call.declared[call.keys[at]] = false
  end
  if left ~= 0 then refuse_keys() end
end

-- Reads all items, up to the last argument, and the pool with the counters that they request.
function requests.load(call)
  local fields = pools.fields()
  local items, count, counted = {false}, pools.FIELDS, nil
  local argc, i = #call.argv, 0
  while call.at < argc do
    i = i + 1
    if i > limits.BATCH_ITEMS_MAX then error({err = 'CONTRACT too many items'}) end
    local request = read_one(call, i, argc)
    local list = request.list
    -- A single item has no duplicates.
    if i == 2 then counted = accounts.counted(fields, pools.FIELDS + 1, count) end
    for n = 1, #list, 2 do
      local field = list[n]
      if not counted or not counted[field] then count = accounts.want(fields, count, counted, field) end
    end
    items[i] = request
  end
  if i == 0 then items = {} end
  if #call.keys ~= context.KEYS + i or call.declared then check_keys(call, i) end
  if count > limits.FIELDS_MAX then error({err = 'CONTRACT too many resources'}) end
  pools.open(call, fields, count)
  return items
end

-- Whether a record equals the request text for text: the ordinary case, which is faster.
function requests.is_same(request, record)
  local list, has, same = request.list, record.list, record.owner == request.owner and not record.accounts
  if request.scope then same = false end
  if #list ~= #has then same = false end
  for i = 1, same and #list or 0 do
    if list[i] ~= has[i] then same = false end
  end
  return same
end

-- Whether a record matches the request: the same owner, amounts and scope, if it names one, and no account that the
-- request does not name.
function requests.matches(request, record)
  local list, held = request.list, {}
  if record.owner ~= request.owner or #record.list ~= #list then return false end
  if request.scope and (record.accounts or {})[1] ~= 'quota:' .. request.scope then return false end
  for i = 1, #list, 2 do held[record.list[i]] = record.list[i + 1] end
  for i = 1, #list, 2 do
    -- Compared as numbers: a list may have texts, as sent, or numbers, as changed.
    if (held[list[i]] or 0) - list[i + 1] ~= 0 then return false end
  end
  for i = 1, record.accounts and #record.accounts or 0 do
    local named = false
    if quotas.is_one(record.accounts[i]) then named = true end
    for _, name in ipairs(request.accounts or {}) do named = named or name == record.accounts[i] end
    if not named then return false end
  end
  return true
end

-- The names of the accounts beyond the pool that are charged: `names`, without those that do not exist.
local function charged_names(names, charged)
  if #names == #charged - 1 then return names end
  names = {}
  for i = 1, #charged - 1 do names[i] = charged[i].name end
  return names
end

-- Sets the hard end of a grant, its time to live, and its deadline, which is returned.
local function set_end(call, request, ends_ms)
  local ttl_ms = records.lasting(call, request.ask_ms + 0, ends_ms)
  local deadline_ms = records.cut(call.now + ttl_ms, ends_ms)
  request.ttl_ms, request.deadline_ms, request.ends_ms = ttl_ms, deadline_ms, ends_ms
  return deadline_ms
end

-- Grants the request: it becomes a record.
function requests.grant(call, request, charged)
  local pool, key, now = call.pool, request.key, call.now
  local revision, ask_ms, deadline_ms = pool.revision + 1, request.ask_ms, nil
  pool.revision = revision
  -- A value that is written more than once is converted to text once.
  local fence = numbers.text(revision)
  request.fence, request.granted_as, request.granted_ms, request.fresh = fence, revision, now, true
  request.id = key:sub(#call.key + 8)
  local ends_ms = (request.lifetime_ms or pool.max_lifetime_ms) and records.end_of(call, request.lifetime_ms)
  if ends_ms then
    deadline_ms = set_end(call, request, ends_ms)
  elseif ask_ms ~= '0' then
    local ttl_ms = ask_ms + 0
    deadline_ms = now + ttl_ms
    request.ttl_ms, request.deadline_ms = ttl_ms, deadline_ms
  end
  if request.accounts then request.accounts = charged_names(request.accounts, charged) end
  if pool.weights then shares.charge(call, request, request.accounts) end
  call.records[key] = request
  local fresh = call.fresh
  if fresh then fresh[#fresh + 1] = request else call.fresh = {request} end
  local reply = {'granted', revision, now, deadline_ms or 0, pool.epoch, pool.durability, nil, nil}
  if request.scope or ends_ms then reply[6], reply[7] = pool.durability or '', request.scope or '' end
  reply[8] = ends_ms
  return reply
end

-- The accounts to charge, the pool last; nil and the reply, if the request names no scope that there is.
function requests.accounts_of(call, request)
  local pool = call.pool
  if not request.scope and (pool.scope or pool.needs_scope) then
    if not pool.scope then return nil, {'scope_required'} end
    requests.charge_to(request, pool.scope)
  end
  local charged
  if request.accounts then
    charged = accounts.charged(call, request.accounts, request.list)
  else
    charged = {pool}
  end
  if request.scope and not call.accounts['quota:' .. request.scope] then
    return nil, {'unknown_scope', request.scope}
  end
  return charged, nil
end

-- Whether the time to live is longer than the pool's limit, or none.
function requests.is_too_long(call, ttl_ms)
  local max_ttl_ms = call.pool.max_ttl_ms
  return max_ttl_ms and (ttl_ms == 0 or ttl_ms > max_ttl_ms)
end

return requests
