std = 'lua51'
read_globals = {'redis', 'KEYS', 'ARGV', 'cjson'}
max_line_length = 120
-- Included functions name their parameters as the scripts name their locals; not every script uses all that an
-- account says.
ignore = {
  '43.', '[23]../state', '[23]../read_revision', '[23]../known_epoch', '[23]../options', '[23]../grace_ms',
  '[23]../recovering', '[23]../stored_run', '[23]../clock_due', '[23]../clock_tells', '[23]../gap_from_ms',
  '[23]../new_offset_ms', '[23]../now_ms', '[23]../alarm', '[23]../run_id', '[23]../seen_ms',
  '[23]../offset_ms', '[23]../max_ttl_ms', '[23]../durability',
}
