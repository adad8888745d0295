from treadle.loader.answer_wait import AnswerWait


def test_a_wait_is_measured_while_it_lasts() -> None:
    now = 100
    wait = AnswerWait(lambda: now)
    assert wait.measure() is None
    wait.begin()
    assert wait.measure() == 0
    now = 130
    assert wait.measure() == 30
    wait.begin()
    assert wait.measure() == 0
    wait.end()
    assert wait.measure() is None
