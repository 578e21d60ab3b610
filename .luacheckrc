std = 'lua51'
read_globals = {'redis', 'KEYS', 'ARGV', 'cjson'}
max_line_length = 120
-- Included functions name their parameters as the scripts name their locals; not every script uses all that an
-- account says.
ignore = {'43.', '[23]../state', '[23]../read_revision'}
