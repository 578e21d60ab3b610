-- clock: the server's time in milliseconds, unless the caller says what time it is (tests, simulations).
local clock = {}

function clock.read(now_ms)
  local now = tonumber(now_ms)
  if not (now and now >= 0 and now <= 9007199254740991 and now % 1 == 0) then
    error({err = 'CONTRACT now_ms is no instant'})
  end
  if now > 0 then return now end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
