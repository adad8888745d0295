import sys
import threading

import pytest

from treadle.ingest.short_turns import TURN_SECONDS, give_short_turns


def test_turns_are_short_while_any_thread_has_long_work() -> None:
    usual = sys.getswitchinterval()
    ends = threading.Event()

    def work() -> None:
        with give_short_turns():
            ends.wait(60)

    with give_short_turns():
        assert sys.getswitchinterval() == pytest.approx(TURN_SECONDS)
        other = threading.Thread(target=work)
        other.start()
    while sys.getswitchinterval() > 2 * TURN_SECONDS:  # the other thread begins
        assert other.is_alive()
    ends.set()
    other.join()
    assert sys.getswitchinterval() == pytest.approx(usual)


def test_turns_are_as_usual_after_an_error() -> None:
    usual = sys.getswitchinterval()
    with pytest.raises(ValueError, match="x"), give_short_turns():
        raise ValueError("x")
    assert sys.getswitchinterval() == pytest.approx(usual)
