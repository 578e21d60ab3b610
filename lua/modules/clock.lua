-- clock: the pool's time, which never steps back, and the gaps in it.
-- If the server's clock was set back, the pool's time continues from where it was (`clock_offset_ms`).  If it was set
-- forward, the pool looks unused for that time: this is a gap (`gap_from_ms`, `gap_to_ms`), by which leases are
-- extended (`expiry`).  An instant in `now_ms` is used unchecked.
local limits = require('limits')
local numbers = require('numbers')

local clock = {}

local function start_at(call, text)
  local now = tonumber(text)
  if string.find(text, '%D') or not now or now > limits.AMOUNT_MAX then
    error({err = 'CONTRACT now_ms is no instant'})
  end
  call.now, call.now_text = now, text
end

function clock.start(call)
  local now_text = call.argv[1]
  if now_text ~= '0' then return start_at(call, now_text) end
  local time = redis.call('TIME')
  local micros = time[2]
  if #micros < 6 then micros = string.rep('0', 6 - #micros) .. micros end
  local text = time[1] .. micros:sub(1, 3)
  call.now, call.now_text, call.by_server = text + 0, text, true
end

-- The longest earlier gap by which live leases may still be extended, or nil.
local function gap_before(call)
  local before = nil
  local gaps = redis.call('HMGET', call.key, 'gap_from_ms', 'gap_to_ms', 'gap_before_from_ms', 'gap_before_to_ms')
  for i = 1, 3, 2 do
    local from, to = tonumber(gaps[i]), tonumber(gaps[i + 1])
    if from and to and call.now < 2 * to - from and not (before and before[2] - before[1] > to - from) then
      before = {from, to}
    end
  end
  return before
end

-- Converts the server's time to the pool's.  `seen_ms`: the pool's time of its last write; `offset_ms`: how far it is
-- ahead of the server.  `call.clock_due`: the clock's fields have changed, or `seen_ms` is old.
function clock.adjust(call, seen_ms, offset_ms)
  local seen, offset, now = tonumber(seen_ms), tonumber(offset_ms), call.now
  if offset then now = now + offset end
  if not seen then
    call.clock_due = true
  elseif now < seen then
    if now < seen - limits.CLOCK_STEP_MS then
      call.clock_due, call.new_offset_ms = true, (offset or 0) + seen - now
    end
    now = seen
  elseif now > seen + limits.CLOCK_SEEN_MS then
    call.clock_due = true
  end
  if offset or now == seen then call.now, call.now_text = now, numbers.text(now) end
  if seen and now > seen + limits.CLOCK_JUMP_MS then call.gap, call.gap_before = {seen, now}, gap_before(call) end
end

-- The recorded gaps, the earlier first, as {from_ms, to_ms} each.
function clock.gaps(call)
  if call.gap then return {call.gap_before or call.gap, call.gap_before and call.gap or nil} end
  local found = {}
  local stored = redis.call('HMGET', call.key, 'gap_before_from_ms', 'gap_before_to_ms', 'gap_from_ms', 'gap_to_ms')
  for i = 1, 3, 2 do
    local from_ms, to_ms = tonumber(stored[i]), tonumber(stored[i + 1])
    if from_ms and to_ms then found[#found + 1] = {from_ms, to_ms} end
  end
  return found
end

-- Adds the changed fields of the clock to the pool's fields to write; returns their new number.
function clock.add_fields(call, sets, n)
  if call.new_offset_ms then
    sets[n + 1], sets[n + 2] = 'clock_offset_ms', call.new_offset_ms
    n = n + 2
  end
  if call.gap then
    sets[n + 1], sets[n + 2], sets[n + 3], sets[n + 4] = 'gap_from_ms', call.gap[1], 'gap_to_ms', call.now_text
    n = n + 4
    if call.gap_before then
      sets[n + 1], sets[n + 2] = 'gap_before_from_ms', call.gap_before[1]
      sets[n + 3], sets[n + 4] = 'gap_before_to_ms', call.gap_before[2]
      n = n + 4
    end
  end
  return n
end

return clock
