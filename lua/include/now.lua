-- now: the server's time in milliseconds, unless the caller says what time it is (tests, simulations).
-- Wants `now_ms` bound; leaves the instant there as text too, for what is written down need not become text again.
local now
local by_server = now_ms == '0'
if by_server then
  local time = redis.call('TIME')
  now_ms = time[1] .. string.sub('00000' .. time[2], -6, -4)
  now = now_ms + 0
else
  now = tonumber(now_ms)
  if not (now and now >= 0 and now <= schema.AMOUNT_MAX) or string.find(now_ms, '%D') then
    error({err = 'CONTRACT now_ms is no instant'})
  end
end
