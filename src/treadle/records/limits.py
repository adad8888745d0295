"""Limits of one request, each with its source."""

BODY_BYTES_MAX = 20_971_520
"""Largest request body in bytes, compressed and decompressed: 20 MB (import-api.md 5)."""

RECORDS_MAX = 20_000
"""Most records or messages in one request (import-api.md 5)."""

DATA_POINTS_MAX = 10_000
"""Most scalar leaf values in one record, null included (import-api.md 5)."""

KEY_CHARACTERS_MAX = 1024
"""Longest string value of a key field in a push (import-api.md 5, 16 row 1)."""

TABLE_CHARACTERS_MAX = 1024
"""Longest name of a table as sent. The specification names no limit. A name stays in the log and in
the memory of processes when all that came under it is gone, so it has to have one."""

SEQUENCE_MAX = 2**63 - 1
"""Largest `sequence` and `table_version` (import-api.md 5)."""

SEQUENCE_MIN = -(2**63)
"""Smallest `sequence`. The specification names none; a 64-bit column holds no lower number."""

DEPTH_MAX = 256
"""Deepest nesting of arrays and objects in a body, counting the outermost; deeper is malformed.

import-api.md 11 asks for a 400 on deep nesting and gives no number. 256 levels stay clear of the
interpreter's recursion limit (1,000), with room for callers and for code that needs three calls
per level, and are far above what a table can hold as flattened columns.
"""

INTEGER_CHARACTERS_MAX = 4300
"""Longest integer literal, with its sign; a longer one is malformed.

This is CPython's own limit for converting text to an integer and back (`sys.int_info`), and the
JSON decoder has it too. Integers outside 64 bits are accepted up to this length; loading decides
about them (loading.md 3.3).
"""

VALUES_MAX = 1_000_000
"""Most values, arrays and objects in one record of a body above a megabyte, and in such a body that
is no array of records; more is malformed.

This is a hundred for each data point that a record may have, and few enough to fit in memory.
"""

WRITTEN_BYTES_MAX = 64 * 1024 * 1024
"""Most bytes that the cache codes of a Transit body may stand for together; more is malformed.

Three times the largest body: enough for names that are several times longer than their codes.
"""
