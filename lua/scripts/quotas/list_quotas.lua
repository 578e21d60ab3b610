#!lua flags=no-writes
--[[
list_quotas -- Read the quotas of a pool atomically, in the order of their scopes, or one page of them.

A scope comes after those above it.  The first entries are the scopes above `scope`, so that what is available can be
computed from the reply alone.

ARGV    scope        text    this scope and those below it; '': all
        cursor       text    the last scope of the page before; '' for the first page
        count        int     the most of a page, 1 to PAGE_RECORDS_MAX
Reply   {"quotas", read_ms, revision, cursor, {field, value, ...} of the pool, (scope, {field, value, ...})*}
          (cursor '': the last page)
        | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(N * R): N scopes
]]
local arguments = require('arguments')
local clock = require('clock')
local limits = require('limits')
local pools = require('pools')
local quotas = require('quotas')

-- The scopes of the page, and the cursor of the next one.
local function page(call, scope, cursor, count)
  local index, first = quotas.index(call), cursor == '' and '-' or '(' .. cursor
  local found, own = {}, scope ~= '' and cursor == ''
  if own and redis.call('ZSCORE', index, scope) then found[1] = scope end
  if scope ~= '' and (cursor == '' or cursor == scope) then first = '[' .. scope .. '/' end
  local last = scope == '' and '+' or '(' .. scope .. '0'
  for _, name in ipairs(redis.call('ZRANGEBYLEX', index, first, last, 'LIMIT', 0, count)) do
    found[#found + 1] = name
  end
  return found, #found >= count and found[#found] or ''
end

return function(call)
  clock.start(call)
  local scope, cursor = arguments.text(call, 'scope'), arguments.text(call, 'cursor')
  local count = math.max(1, arguments.integer(call, 'count', limits.PAGE_RECORDS_MAX))
  arguments.finish(call, 0)
  local fields, stored = redis.call('HGETALL', call.key), {}
  for i = 1, #fields, 2 do stored[fields[i]] = fields[i + 1] end
  local _, refused = pools.identify(call, stored.epoch)
  if refused then return {refused} end
  clock.adjust(call, stored.clock_ms, stored.clock_offset_ms)
  local found, following = page(call, scope, cursor, count)
  local reply = {'quotas', call.now, tonumber(stored.revision) or 0, following, fields}
  local above = scope ~= '' and quotas.names(scope) or {}
  for n = #above, 2, -1 do
    reply[#reply + 1] = string.sub(above[n], 7)
    reply[#reply + 1] = redis.call('HGETALL', string.sub(call.key, 1, -5) .. above[n])
  end
  for _, name in ipairs(found) do
    reply[#reply + 1] = name
    reply[#reply + 1] = redis.call('HGETALL', string.sub(call.key, 1, -5) .. 'quota:' .. name)
  end
  return reply
end
