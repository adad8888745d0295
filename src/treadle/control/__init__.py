"""The operator's requests: the Connect API (connect-api.md)."""
