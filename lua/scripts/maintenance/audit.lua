#!lua flags=no-writes
--[[
audit -- Compare records with their indexes and sum their amounts.

With `all`, every record in this one call, up to AUDIT_RECORDS_MAX of them; else one page of one index.  The caller adds
up the pages as long as `revision` does not change.  The reply has the pool's counters, which the caller compares with
the sums; those of other accounts, and the line, are compared here, with `all`.

ARGV    index        text    all, deadlines, pinned or priorities
        cursor       text    '0' for the first page
        count        int     the approximate number of a page, 1 to PAGE_RECORDS_MAX
Reply   {"audit", revision, cursor, records, total, {resource, sum, ...}, {field, value, ...} of the pool,
         {id, ...}, {kind, subject, detail, ...}}
        | {"large", records} | {"unknown_pool"} | {"other_epoch"}
Writes  nothing
Cost    O(N * R), about 2.5 us a record
]]
local arguments = require('arguments')
local audits = require('audits')
local limits = require('limits')
local line_audit = require('line_audit')
local pools = require('pools')
local priority_audit = require('priority_audit')
local quota_audit = require('quota_audit')
local share_audit = require('share_audit')

return function(call)
  local name, cursor = arguments.text(call, 'index'), arguments.text(call, 'cursor')
  local count = arguments.integer(call, 'count', limits.PAGE_RECORDS_MAX)
  arguments.finish(call, 0)
  local stored = redis.call('HMGET', call.key, 'epoch', 'revision', 'options')
  local _, refused = pools.identify(call, stored[1])
  if refused then return {refused} end
  local revision = tonumber(stored[2]) or 0
  audits.open(call, revision)
  -- Once in an audit of several pages, too.
  if (name == 'all' or name == 'pinned') and cursor == '0' then
    line_audit.walk(call, stored[3])
    quota_audit.walk(call)
  end
  if name == 'all' then
    local large = audits.walk_all(call)
    if large then return {'large', large} end
    audits.recount_accounts(call)
    priority_audit.all(call, stored[3])
    share_audit.all(call, stored[3])
    call.audit.ids, cursor = {}, '0'
  elseif name == 'priorities' then
    cursor = priority_audit.entries(call, stored[3], cursor, math.max(count, 1))
  else
    local index = name == 'deadlines' and call.deadlines or call.pinned
    local scan = redis.call('ZSCAN', index, cursor, 'COUNT', math.max(count, 1))
    cursor = scan[1]
    audits.walk(call, index, scan[2])
    priority_audit.page(call, stored[3])
  end
  local audit = call.audit
  return {
    'audit', revision, cursor, audit.records, audit.total, audits.sums(call), redis.call('HGETALL', call.key),
    audit.ids, audit.findings,
  }
end
