"""The store: accounts, sources, tokens, destinations, leases and load reports, in a database."""
