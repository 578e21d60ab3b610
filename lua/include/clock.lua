-- clock: from the server's time to the pool's, which never steps back.  Wants `pool`, what `now` left, and `seen_ms`
-- and `offset_ms` as the account has them: when the pool last wrote, and how far it is ahead of the server.
-- A server's clock that was set back: the pool's time goes on from where it was (`clock_offset_ms`).  One that was set
-- forward looks like a pool that nobody used: `gap_from_ms` and `gap_to_ms` say so, and `gap` gives leases that time.
-- Leaves `clock_due`: there is news of the clock, or the last is old; who writes for that alone says `clock_tells`.
-- A caller who says what time it is, is believed.
local clock_due, clock_tells, gap_from_ms, gap_before, new_offset_ms = false, false, false, false, false
if by_server then
  local seen, offset = tonumber(seen_ms), tonumber(offset_ms)
  if offset then now = now + offset end
  if not seen then
    clock_due = true
  elseif now < seen then
    if now < seen - schema.CLOCK_STEP_MS then
      clock_due, new_offset_ms = true, (offset or 0) + seen - now
    end
    now = seen
  elseif now > seen + schema.CLOCK_SEEN_MS then
    clock_due = true
    if now > seen + schema.CLOCK_JUMP_MS then
      gap_from_ms = seen
      -- Beside it the longest of those before is kept, for as long as leases live on it.
      local gaps = redis.call('HMGET', pool, 'gap_from_ms', 'gap_to_ms', 'gap_before_from_ms', 'gap_before_to_ms')
      for i = 1, 3, 2 do
        local from, to = tonumber(gaps[i]), tonumber(gaps[i + 1])
        if from and to and now < 2 * to - from and not (gap_before and gap_before[2] - gap_before[1] > to - from) then
          gap_before = {from, to}
        end
      end
    end
  end
  if offset or now == seen then now_ms = string.format('%.0f', now) end
end
