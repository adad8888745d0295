from treadle.loader.schedule import TableKey
from treadle.loader.table_claims import TableClaims


def test_tables_of_sources_that_load_here_are_claimed_until_they_are_released() -> None:
    claims = TableClaims(lambda: {1, 2})
    assert claims.tables == frozenset()
    assert claims.claim([(1, "a"), (2, "b")])
    assert claims.tables == {(1, "a"), (2, "b")}
    claims.release()
    assert claims.tables == frozenset()


def test_no_table_is_claimed_where_one_source_loads_elsewhere() -> None:
    claims = TableClaims(lambda: {1})
    assert not claims.claim([(1, "a"), (2, "b")])
    assert claims.tables == frozenset()


def test_tables_are_claimed_before_the_commands_are_received() -> None:
    seen: list[frozenset[TableKey]] = []

    def receive() -> set[int]:
        seen.append(claims.tables)
        return {1}

    claims = TableClaims(receive)
    assert claims.claim([(1, "a")])
    assert claims.hold([(9, "")]) == {1}
    assert seen == [{(1, "a")}, {(9, "")}]


def test_what_stands_for_all_tables_is_claimed_though_it_is_of_no_source() -> None:
    claims = TableClaims(lambda: {1})
    claims.hold([(9, "")])
    assert claims.tables == {(9, "")}
