"""Finds damage in the log's file, and salvages what can be read (README.md)."""
