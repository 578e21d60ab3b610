"""The command line `resource-allocator`.

`main` is the entry point and needs no extra.  `root` loads the commands on demand and converts exceptions to exit
codes.  Each family of commands has a module.  A command's data go to stdout, all other text to stderr.
"""
