"""How much one request may hold, each number with where it comes from."""

BODY_BYTES_MAX = 20_971_520
"""Largest request body, before and after inflating: 20 MB (import-api.md 5)."""

RECORDS_MAX = 20_000
"""Most records or messages of one request (import-api.md 5)."""

DATA_POINTS_MAX = 10_000
"""Most scalar leaf values of one record, null included (import-api.md 5)."""

KEY_CHARACTERS_MAX = 1024
"""Longest string value of a key field on push (import-api.md 5, 16 row 1)."""

SEQUENCE_MAX = 2**63 - 1
"""Greatest `sequence` and `table_version` (import-api.md 5)."""

SEQUENCE_MIN = -(2**63)
"""Least `sequence`. The specification names none; a column of 64 bits holds no lower one."""

DEPTH_MAX = 256
"""Deepest nesting of arrays and objects in a body, the outermost counted; deeper is malformed.

import-api.md 11 asks for a 400 on deep nesting and names no number. 256 levels stay clear of the
interpreter's recursion limit (1,000) with room for callers and for code that takes three calls a
level, and are far above what a table can hold as flattened columns.
"""

INTEGER_CHARACTERS_MAX = 4300
"""Longest integer literal, its sign included; a longer one is malformed.

CPython's own bound for turning text into an integer and back (`sys.int_info`), which the JSON
decoder shares. Integers outside 64 bits are accepted up to here; loading decides about them
(loading.md 3.3).
"""

VALUES_MAX = 1_000_000
"""Most values, arrays and objects of a record in a Transit body above a megabyte; more is
malformed. A hundred for each data point a record may have, and no more than fits in memory."""

WRITTEN_CHARACTERS_MAX = 64 * 1024 * 1024
"""Most characters of a Transit body's values with their cached strings written out; more is
malformed. A code of two characters may stand for a string of any length."""
