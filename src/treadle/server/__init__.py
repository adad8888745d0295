"""Builds the rooms from settings, starts and stops them. The only place that names back-ends.

`serve` is the supervisor: it takes the data directory, prepares the store, listens, and runs one
process per role (`treadle.server.supervisor`). Each child is `python -m treadle.server ROLE`.
What a role does is a module of its own, `work` and `load`, which the other processes do not
import: imports are most of a start, and a quarter of what the loader held.
"""
