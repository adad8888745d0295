"""The log as one SQLite file: its theory of operation is in `log`."""
