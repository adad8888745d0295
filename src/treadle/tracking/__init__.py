"""What became of accepted requests and records: read models over the log and the store.

Every actor may use them (ingest, control, loader, maintenance); they use none of these.
"""
