"""HTTP request -> log entry -> answer: the Import API (import-api.md)."""
