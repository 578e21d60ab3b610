"""The command line `resource-allocator`.

`main` is the entry point and needs no extra; `root` has the lazy loading of commands and the way from an exception to
an exit code; each family of commands has a module.  A command's data goes to stdout, every other word to stderr.
"""
