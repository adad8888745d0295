"""Which gate a sender takes: one that answers, and another one than before."""

import random

from tests.faults.cluster.senders import SILENT_SECONDS, SLOW_SECONDS, GateAddress, GateList

NAMES = ("gate-1", "gate-2", "gate-3")


def make_gates() -> GateList:
    gates = GateList()
    gates.replace([GateAddress(name, "127.0.0.1", 1) for name in NAMES])
    return gates


def draw_many(gates: GateList, now: float, other_than: str | None = None) -> set[str]:
    dice = random.Random(1)
    return {gates.choose(dice, now, other_than).name for _ in range(100)}


def test_any_gate_is_taken_where_all_answer() -> None:
    assert draw_many(make_gates(), 100.0) == set(NAMES)
    assert draw_many(make_gates(), 100.0, "gate-1") == {"gate-2", "gate-3"}


def test_a_gate_that_did_not_answer_is_left_out_for_a_while() -> None:
    gates = make_gates()
    gates.note_silence("gate-2", 100.0)
    assert draw_many(gates, 101.0) == {"gate-1", "gate-3"}
    assert draw_many(gates, 100.0 + SILENT_SECONDS) == set(NAMES)


def test_a_gate_that_somebody_waits_for_is_left_out() -> None:
    gates = make_gates()
    with gates.waiting("gate-3"):
        [began] = [at for _, at in gates.list_waits()]
        assert draw_many(gates, began + 0.5) == set(NAMES)
        assert draw_many(gates, began + SLOW_SECONDS + 0.1) == {"gate-1", "gate-2"}
    assert draw_many(gates, began + SLOW_SECONDS + 0.1) == set(NAMES)


def test_where_no_gate_answers_any_is_tried() -> None:
    gates = make_gates()
    for name in NAMES:
        gates.note_silence(name, 100.0)
    assert draw_many(gates, 101.0, "gate-1") == {"gate-2", "gate-3"}


def test_a_sender_takes_its_own_gate_more_often() -> None:
    gates, dice = make_gates(), random.Random(1)
    taken = [gates.choose(dice, 100.0, home=4).name for _ in range(300)]
    assert taken.count("gate-2") > 200
    assert set(taken) == set(NAMES)
    gates.note_silence("gate-2", 100.0)
    assert "gate-2" not in {gates.choose(dice, 101.0, home=4).name for _ in range(100)}
