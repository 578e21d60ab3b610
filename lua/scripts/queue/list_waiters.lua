#!lua flags=no-writes
--[[
list_waiters -- Read one page of the line, in its order, with what each waiter is short of.

`starts` adds up the future deadlines, as `starts.lua` says, and grants in order what they free, for the first
EXPLAIN_WAITERS_MAX waiters: the earliest start that known deadlines allow, without renewals and other requests.

ARGV    first        int     the position to begin with, from 1 on
        count        int     1 to PAGE_WAITERS_MAX
        starts       int     1: estimate the starts; only with the first position
Reply   {"line", read_ms, length, (id, place, {field, value, ...}, refusal, start_ms)*}; refusal: as of `allocate`;
          start_ms 0: not foreseen
        | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(count * R), with starts O(256 * R)
]]
local accounts = require('accounts')
local arguments = require('arguments')
local clock = require('clock')
local denials = require('denials')
local limits = require('limits')
local numbers = require('numbers')
local pools = require('pools')
local starts = require('starts')
local waiters = require('waiters')

-- The accounts of a waiter; nil if its scope does not exist.
local function charged_of(call, waiter)
  accounts.read(call.pool, waiter.list)
  local charged = waiter.accounts and accounts.charged(call, waiter.accounts, waiter.list) or {call.pool}
  if waiter.scope and not call.accounts['quota:' .. waiter.scope] then return nil end
  return charged
end

local function refusal_of(charged, waiter)
  if not charged then return {'unknown_scope', waiter.scope} end
  if not accounts.take(charged, waiter.list) then
    accounts.add_all(charged, waiter.list, -1)
    return denials.queued(charged, waiter.list)
  end
  return denials.reply(charged, waiter.list)
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
local function starts_of(call, page, charges)
  local walk, found = starts.open(call), {}
  for i = 1, math.min(#page, limits.EXPLAIN_WAITERS_MAX) do
    found[i] = charges[i] and starts.next(call, walk, charges[i], page[i].list) or 0
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
  local page, charges = read_page(call, first, count), {}
  local reply = {'line', call.now, redis.call('ZCARD', waiters.index(call))}
  for i = 1, #page do
    charges[i] = charged_of(call, page[i])
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3] = page[i].id, numbers.text(page[i].place), waiters.flat(page[i])
    reply[n + 4], reply[n + 5] = refusal_of(charges[i], page[i]), 0
  end
  local begins = estimates and first == 1 and starts_of(call, page, charges) or {}
  for i = 1, #begins do reply[3 + 5 * i] = begins[i] end
  return reply
end
