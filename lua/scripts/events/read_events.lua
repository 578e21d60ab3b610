#!lua flags=no-writes
--[[
read_events -- Read entries of the pool's event stream: the latest, newest first, or those after one, oldest first.

ARGV    since        text    an entry's id: what comes after it; an instant in ms: from it on; empty: the latest
        count        int     1 to PAGE_RECORDS_MAX
Reply   {"events", (entry id, {field, value, ...})*}
        {"trimmed", entry id, (entry id, {field, value, ...})*} | {"lost", entry id, the same}
        {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(count)

After "trimmed" and "lost" entries are missing, and the id is the one to go on from.  "trimmed": the stream was cut
since.  "lost": it has no such entry: the store lost it, or the pool was created again, or the id is another pool's.
]]
local arguments = require('arguments')
local limits = require('limits')
local pools = require('pools')

-- Why entries between `since` and the first one found may be missing; nil: none are.
local function gap(call, since, found)
  if found[1] and found[1][1] == since then return nil end
  local names_entry = since:find('-', 1, true)
  local first = redis.call('XRANGE', call.events, '-', '+', 'COUNT', 1)[1]
  if first and found[1] and found[1][1] == first[1] then
    local is_whole = first[2][2] == 'created'
    if not is_whole then return 'trimmed' end
  end
  return names_entry and 'lost' or nil
end

-- Where to go on from, as nothing is missing after the last entry.
local function resumed(call, since, found)
  if found[1] then return since end
  local last = redis.call('XREVRANGE', call.events, '+', '-', 'COUNT', 1)[1]
  return last and last[1] or '0'
end

local function latest(call, count)
  return redis.call('XREVRANGE', call.events, '+', '-', 'COUNT', count), {'events'}
end

local function entries_since(call, since, count)
  local found = redis.call('XRANGE', call.events, since, '+', 'COUNT', count + 1)
  local why = gap(call, since, found)
  local reply = why and {why, resumed(call, since, found)} or {'events'}
  if found[1] and found[1][1] == since then
    table.remove(found, 1)
  elseif #found > count then
    found[#found] = nil
  end
  return found, reply
end

return function(call)
  local since = arguments.text(call, 'since')
  if since ~= '' and not since:find('^%d+%-?%d*$') then arguments.refuse('since') end
  local count = math.max(arguments.integer(call, 'count', limits.PAGE_RECORDS_MAX), 1)
  arguments.finish(call, 0)
  local _, refused = pools.identify(call, redis.call('HGET', call.key, 'epoch'))
  if refused then return {refused} end
  local entries, reply
  if since == '' then
    entries, reply = latest(call, count)
  else
    entries, reply = entries_since(call, since, count)
  end
  for _, entry in ipairs(entries) do
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = entry[2]
  end
  return reply
end
