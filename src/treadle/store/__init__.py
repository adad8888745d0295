"""Who may push where, and what became of it."""
