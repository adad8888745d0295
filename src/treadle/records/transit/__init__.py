"""Transit bodies (import-api.md 12): reading, and the encoding of their values for the log."""
