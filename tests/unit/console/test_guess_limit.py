"""Wrong tokens are counted by address."""

from treadle.console.guess_limit import ADDRESSES_MAX, GUESS_SECONDS, GUESSES_MAX, GuessLimit


class Moment:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_address_waits_after_so_many_and_goes_on_later() -> None:
    moment = Moment()
    limit = GuessLimit(moment)
    for number in range(GUESSES_MAX):
        assert limit.get_wait_seconds("192.0.2.1") == 0
        limit.note_failure("192.0.2.1")
        moment.now += number
    assert limit.get_wait_seconds("192.0.2.1") > GUESS_SECONDS - 60
    assert limit.get_wait_seconds("192.0.2.2") == 0
    moment.now = 1000.0 + GUESS_SECONDS
    assert limit.get_wait_seconds("192.0.2.1") == 0


def test_one_customer_of_ipv6_is_one_address() -> None:
    limit = GuessLimit(Moment())
    for number in range(GUESSES_MAX):
        limit.note_failure(f"2001:db8::{number:x}")
    assert limit.get_wait_seconds("2001:db8::ffff")
    assert not limit.get_wait_seconds("2001:db8:0:1::1")


def test_a_flood_of_addresses_costs_bounded_memory() -> None:
    limit = GuessLimit(Moment())
    for number in range(ADDRESSES_MAX + 50):
        limit.note_failure(f"10.0.{number // 256}.{number % 256}")
    assert len(limit._times) == ADDRESSES_MAX
