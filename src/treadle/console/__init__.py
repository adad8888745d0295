"""The console: the operator's pages, over the same operations as `/v1` and `/v4` (console.md).

Nothing here is imported before the first request for a page.
"""
