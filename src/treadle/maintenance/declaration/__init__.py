"""Accounts, sources, destinations, hooks and quotas as a file: read, written, and compared.

`model` has the values, `document` reads them from TOML and writes them, `plan` finds the changes
that lead from what is there to what is wanted. Nothing here asks the store.
"""
