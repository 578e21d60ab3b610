-- now: the server's time in milliseconds, unless the caller says what time it is (tests, simulations).
-- Wants `now_ms` bound.
local now = tonumber(now_ms)
if not (now and now >= 0 and now <= schema.AMOUNT_MAX and now % 1 == 0) then
  error({err = 'CONTRACT now_ms is no instant'})
end
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
