"""`make torture`: the stages that prove what is promised, with seeds and counters."""
