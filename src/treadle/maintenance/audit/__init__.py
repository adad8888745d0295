"""`treadle audit`: whether the destination still contains what was loaded.

`evidence` gathers counts and keys of a table; `differences` compares them and asks nothing.
"""
