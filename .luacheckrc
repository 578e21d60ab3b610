std = 'lua51'
read_globals = {'redis', 'KEYS', 'ARGV', 'cjson'}
max_line_length = 120
