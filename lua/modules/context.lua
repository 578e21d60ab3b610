-- context: the state of one call.  Every script takes this envelope first: the keys pool, deadlines, pinned, ended,
-- events; the arguments now_ms, seen_epoch, seen_fence, epoch, actor.  A script's header lists its other keys and
-- arguments.
--   call.key, call.deadlines, call.pinned, call.ended, call.events   the pool's keys
--   call.now                      the pool's time in ms (`clock`); call.now_text: the same as text
--   call.pool, call.refused       its state and its counters, and the reply word that refuses the call (`pools`)
--   call.accounts                 the counters of other accounts, by name (`accounts`)
--   call.actor                    who calls, for the events; false if unknown
--   call.records                  live records by key; false if there is none (`records`)
--   call.line                     who waits, once it is read (`line`); call.freed: there may be room for them
-- Modules plan the writes in it; `transaction.commit` executes them.
local limits = require('limits')

local context = {}

context.KEYS = 5
context.ARGUMENTS = 5

function context.open(keys, argv)
  if #keys < context.KEYS or #argv < context.ARGUMENTS then error({err = 'CONTRACT the envelope is incomplete'}) end
  local actor = argv[5]
  if #actor > limits.ID_LENGTH_MAX then error({err = 'CONTRACT actor is too long'}) end
  -- The fields that an ordinary call sets later are listed, too: a table that grows costs more than one preallocated,
  -- and this one has room for 32.
  return {
    keys = keys, argv = argv, at = context.ARGUMENTS, key = keys[1], deadlines = keys[2], pinned = keys[3],
    ended = keys[4], events = keys[5], epoch = argv[4], records = {}, now = false, now_text = false, pool = false,
    actor = actor ~= '' and actor, by_server = false, refused = false, atomic = false, fresh = false,
  }
end

-- The caller's fence watermark, and the epoch that it belongs to.
function context.seen(call)
  local text = call.argv[3]
  local fence = tonumber(text)
  if not fence or fence > limits.AMOUNT_MAX or string.find(text, '%D') then
    error({err = 'CONTRACT seen_fence is no integer in its bounds'})
  end
  return call.argv[2], fence
end

return context
