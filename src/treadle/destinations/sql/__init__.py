"""The kit that SQL back-ends share: sessions, loads, schema changes and treadle's own tables.

A back-end supplies two things: a `SqlDialect`, which spells names, types and statements, and a
`SqlConnection`, which runs statements and sends rows. `SqlTransactions` on the connection and
`SqlSession` do the rest.
"""
