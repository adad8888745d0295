"""The log as one SQLite file on this machine."""
