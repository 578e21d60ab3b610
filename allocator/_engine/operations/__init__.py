"""One module per family of verbs: arguments in, a reply read out, no I/O."""
