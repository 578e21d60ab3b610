"""Operations: one module per verb or family of verbs; they encode arguments and decode replies.  No I/O."""
