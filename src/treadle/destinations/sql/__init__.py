"""The kit that SQL back-ends share: sessions, loads, schema changes and treadle's own tables.

A back-end supplies two things: a `Dialect`, which spells names, types and statements, and a
`Connection`, which runs statements and sends rows. `SqlSession` does the rest.
"""
