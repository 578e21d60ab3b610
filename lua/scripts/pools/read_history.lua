#!lua flags=no-writes
--[[
read_history -- Read the points of a pool's history from an instant on, oldest first, and what the pool has now.

The first point is the last one up to the instant, if there is one: what the pool had then.  A change writes at most one
point an interval, so from one point to the next the pool had what the later one says at the end of its interval only,
and after the last one of an interval what it had there.

ARGV    interval_ms  int     MINUTE_MS or HOUR_MS; 0: minutes up to a day ago, else hours
        ago_ms       int     how long before now it begins
        since_ms     int     when it begins; 0: `ago_ms` before now
        after_ms     int     only the points after this one; 0: from the beginning on
        count        int     1 to HISTORY_PAGE_MAX
Reply   {"history", read_ms, epoch, interval_ms, begin_ms, history_ms, first_ms, more, allocations, waiting,
          {field, value, ...}, (point_ms, {field, value, ...})*} (begin_ms: of the first interval that may be kept;
          history_ms: where the interval without a point begins, 0: there is no history; first_ms: the oldest point, 0:
          there is none, negative: older ones were cut; more: 1 if there are later points; then the pool as it is)
        | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(count * R)
]]
local arguments = require('arguments')
local clock = require('clock')
local history = require('history')
local limits = require('limits')
local numbers = require('numbers')
local pools = require('pools')
local waiters = require('waiters')

-- The instant of a point.
local function at(entry)
  local ms = string.match(entry[1], '^(%d+)%-')
  return numbers.exact(ms) or 0
end

-- The points from an instant on, with the last one before it, or only those after one; whether there are later ones.
local function read(key, begin_ms, after_ms, count)
  local points, more = {}, 0
  if after_ms == 0 then points = redis.call('XREVRANGE', key, numbers.text(begin_ms), '-', 'COUNT', 1) end
  local from = numbers.text((after_ms > 0 and after_ms or begin_ms) + 1)
  local n, later = #points, redis.call('XRANGE', key, from, '+', 'COUNT', count + 1)
  for i = 1, #later do
    if n + i > count then more = 1 else points[n + i] = later[i] end
  end
  return points, more
end

-- The oldest point: negative if there may have been older ones.
local function oldest(key, most)
  local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if not first then return 0 end
  local ms = at(first)
  return redis.call('XLEN', key) < most and ms or -ms
end

-- The interval, and where its first one begins.
local function span(interval_ms, begin_ms, until_ms)
  local day_ms = limits.HISTORY_MINUTES_MAX * limits.MINUTE_MS
  if interval_ms == 0 then interval_ms = until_ms - begin_ms > day_ms and limits.HOUR_MS or limits.MINUTE_MS end
  local most = interval_ms == limits.MINUTE_MS and limits.HISTORY_MINUTES_MAX or limits.HISTORY_HOURS_MAX
  local last_ms = until_ms - until_ms % interval_ms
  begin_ms = math.min(math.max(begin_ms - begin_ms % interval_ms, last_ms - (most - 1) * interval_ms, 0), last_ms)
  return interval_ms, begin_ms, most
end

local function read_arguments(call)
  local asked = {interval_ms = arguments.integer(call, 'interval_ms')}
  if asked.interval_ms ~= 0 and asked.interval_ms ~= limits.MINUTE_MS and asked.interval_ms ~= limits.HOUR_MS then
    arguments.refuse('interval_ms')
  end
  asked.ago_ms, asked.since_ms = arguments.integer(call, 'ago_ms'), arguments.integer(call, 'since_ms')
  asked.after_ms = arguments.integer(call, 'after_ms', limits.AMOUNT_MAX - 1)
  asked.count = math.max(arguments.integer(call, 'count', limits.HISTORY_PAGE_MAX), 1)
  arguments.finish(call, 0)
  return asked
end

return function(call)
  clock.start(call)
  local asked = read_arguments(call)
  local fields = redis.call('HGETALL', call.key)
  local stored = {}
  for i = 1, #fields, 2 do stored[fields[i]] = fields[i + 1] end
  local epoch, refused = pools.identify(call, stored.epoch)
  if refused then return {refused} end
  if call.by_server then clock.adjust(call, stored.clock_ms, stored.clock_offset_ms) end
  local from_ms = numbers.exact(stored.history_ms) or 0
  local until_ms = math.max(call.now, from_ms)
  local begin_ms = asked.since_ms > 0 and asked.since_ms or until_ms - asked.ago_ms
  local interval_ms, most
  interval_ms, begin_ms, most = span(asked.interval_ms, begin_ms, until_ms)
  local key = interval_ms == limits.MINUTE_MS and history.minutes(call) or history.hours(call)
  local points, more = read(key, begin_ms, asked.after_ms, asked.count)
  local live = redis.call('ZCARD', call.deadlines) + redis.call('ZCARD', call.pinned)
  local waits = string.find(stored.options or '', 'waits=1', 1, true)
  local reply = {
    'history', call.now, epoch, interval_ms, begin_ms, from_ms, oldest(key, most), more, live,
    waits and redis.call('ZCARD', waiters.index(call)) or 0, fields,
  }
  for _, point in ipairs(points) do
    local n, ms = #reply, at(point)
    reply[n + 1], reply[n + 2] = ms, point[2]
  end
  return reply
end
