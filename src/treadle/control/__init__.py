"""The Connect API: creates sources and their tokens (connect-api.md)."""
