"""Builds every part of treadle from the settings, starts and stops it.

`main_process` is `treadle serve`: it locks the data folder, listens, has `startup_process` prepare
store and log, and has `supervisor` run one process for each role. A child is
`python -m treadle.server ROLE`. Each role is a module of its own, `worker_process` and
`loader_process`, which the other processes do not import: imports take most of the time of a start,
and took a quarter of the loader's memory.
"""
