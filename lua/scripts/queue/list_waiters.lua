#!lua flags=no-writes
--[[
list_waiters -- Read one page of the line, in its order, with what each waiter is short of.

`starts` adds up the future deadlines, as `starts.lua` says, and grants in order what they free, for the first
EXPLAIN_WAITERS_MAX waiters: the earliest start that known deadlines allow, without renewals and other requests.

ARGV    first        int     the position to begin with, from 1 on
        count        int     1 to PAGE_WAITERS_MAX
        starts       int     1: estimate the starts; only with the first position
Reply   {"line", read_ms, length, (id, place, {field, value, ...}, refusal, start_ms, item)*}; refusal: as of
          `allocate`; start_ms 0: not foreseen; item: of a gang, the member that is refused
        | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(count * R), with starts O(256 * R)
]]
local arguments = require('arguments')
local clock = require('clock')
local limits = require('limits')
local numbers = require('numbers')
local parts = require('parts')
local pools = require('pools')
local starts = require('starts')
local waiters = require('waiters')

-- Why it waits, and the member of its gang that is refused.
local function refusal_of(call, waiter)
  waiter.opened = parts.open(call, waiter)
  if waiter.opened then return parts.refusal(waiter) end
  for n, one in ipairs(waiter.members or {waiter}) do
    if one.scope and not call.accounts['quota:' .. one.scope] then return {'unknown_scope', one.scope}, n end
  end
  return {'unknown_scope', ''}, 1
end

local function read_page(call, first, count)
  local ids = redis.call('ZRANGE', waiters.index(call), first - 1, first + count - 2, 'WITHSCORES')
  local page = {}
  for i = 1, #ids, 2 do
    local waiter = waiters.read(call, ids[i], tonumber(ids[i + 1]))
    if waiter and not waiter.broken then page[#page + 1] = waiter end
  end
  return page
end

-- The starts of the first waiters, by their place in the page.  It changes the counters in memory.
local function starts_of(call, page)
  local walk, found = starts.open(call), {}
  for i = 1, math.min(#page, limits.EXPLAIN_WAITERS_MAX) do
    found[i] = page[i].opened and starts.next(call, walk, page[i]) or 0
    -- What is behind one that is not foreseen is not foreseen either.
    if found[i] == 0 then break end
  end
  return found
end

return function(call)
  clock.start(call)
  local first = arguments.integer(call, 'first', limits.QUEUE_MAX)
  local count = arguments.integer(call, 'count', limits.PAGE_WAITERS_MAX)
  local estimates = arguments.flag(call, 'starts')
  arguments.finish(call, 0)
  if first < 1 or count < 1 then arguments.refuse('first or count') end
  pools.open_state(call, true)
  if call.refused then return {call.refused} end
  local page = read_page(call, first, count)
  local reply = {'line', call.now, redis.call('ZCARD', waiters.index(call))}
  for i = 1, #page do
    local refusal, item = refusal_of(call, page[i])
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3] = page[i].id, numbers.text(page[i].place), waiters.flat(page[i])
    reply[n + 4], reply[n + 5], reply[n + 6] = refusal, 0, item
  end
  local begins = estimates and first == 1 and starts_of(call, page) or {}
  for i = 1, #begins do reply[2 + 6 * i] = begins[i] end
  return reply
end
