"""Slots of tables."""

from treadle.log.slots import SLOTS, compute_slot


def test_names_that_may_become_one_table_have_one_slot() -> None:
    assert compute_slot(1, "Orders") == compute_slot(1, "ORDERS") == compute_slot(1, "orders")
    assert 0 <= compute_slot(2**40, "ü\0🧵") < SLOTS


def test_slots_never_change_and_spread_the_tables() -> None:
    known = [compute_slot(1, "orders"), compute_slot(2, "orders"), compute_slot(1, "")]
    assert known == [41, 38, 37]
    found = [compute_slot(1, f"table {n}") for n in range(6_400)]
    assert set(found) == set(range(SLOTS))
    assert max(found.count(slot) for slot in range(SLOTS)) < 160
