"""The target of Singer taps: their messages become batches, and their states come out again."""
