"""The numbered cases of the loading rules (loading.md 13): requests in, tables expected.

`cases.json` and `more.json` hold them, and `append_only.json` those of a destination where rows are
only added; `left_out` says which of the others are not for one, and why. `compare` says how tables
differ from the ones that a case expects. `warehouse` is the view of a destination that it needs:
write one with your own driver, so that treadle's code does not vouch for itself. A case is sent to
a whole server, so the program that runs the cases is in the repository and not here:
`python -m tests.conformance`.
"""
