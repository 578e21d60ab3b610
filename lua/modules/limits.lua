-- limits: the bounds that the scripts share; generated from allocator/settings.py by tools/generate.py.
local limits = {}

limits.AMOUNT_MAX = 9007199254740991
limits.AUDIT_FIELDS_MAX = 16000
limits.AUDIT_RECORDS_MAX = 10000
limits.BATCH_ITEMS_MAX = 100
limits.CALLS_MAX = 3
limits.CHECK_EXPIRED_MAX = 256
limits.CLOCK_JUMP_MS = 60000
limits.CLOCK_SEEN_MS = 1000
limits.CLOCK_STEP_MS = 1000
limits.ENDED_KEEP_MS = 120000
limits.ENDED_MAX = 200000
limits.ENDED_TRIM = 8
limits.ENDED_TRIM_MAX = 2000
limits.EVENTS_MAX_TEXT = '10000'
limits.EXPLAIN_DEADLINES_MAX = 256
limits.FENCE_AHEAD_MAX = 1099511627776
limits.FIELDS_MAX = 7000
limits.FINDINGS_MAX = 100
limits.MENDS_MAX = 1000
limits.METADATA_ENTRIES_MAX = 16
limits.OFFLINE_MS = 120000
limits.OPTIONS_MAX = 16
limits.OVERCOMMIT_PERMILLE_MAX = 15000
limits.PAGE_RECORDS_MAX = 500
limits.QUOTAS_MAX = 20000
limits.RECLAIM_BATCH_MAX = 200
limits.RECLAIM_INLINE_MAX = 64
limits.RECORD_FIELDS = 8
limits.RECOVERY_FENCES = 1000000
limits.RESOURCES_MAX = 32
limits.SCHEMA = 1
limits.SCHEMA_TEXT = '1'
limits.SCOPE_DEPTH_MAX = 8
limits.TRIM_EVERY = 32

return limits
