--@include recovery
-- suspect: begins a recovery where the pool has a grace and the store has lost data, by what the caller knows of its
-- fences (`mark_epoch` '' and `mark_fence` 0: nothing).  Before anything is decided that a loss would make wrong.
local function suspect(mark_epoch, mark_fence)
  if not grace_ms or recovering then return end
  --@include alarm
  if alarm then recovery.begin(alarm, mark_fence, run_id) end
end
