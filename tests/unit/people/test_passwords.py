"""Which passwords are taken, and how they are kept."""

import hashlib
from typing import Any

import pytest

from treadle.people import passwords
from treadle.people.passwords import (
    PasswordRuleError,
    check_password,
    fits_record,
    make_record,
)

SALT = bytes(range(16))
RECORD = make_record("correct horse", SALT)


def test_a_record_has_the_parameters_and_not_the_password() -> None:
    assert RECORD.startswith("scrypt$32768$8$1$AAECAwQFBgcICQoLDA0ODw==$")
    assert "horse" not in RECORD
    assert make_record("correct horse", bytes(16)) != RECORD


def test_one_password_fits_a_record() -> None:
    assert fits_record("correct horse", RECORD)
    for wrong in ("", "correct horse ", "Correct horse", "correct\0horse", "\ud800" * 3_000):
        assert not fits_record(wrong, RECORD)


def test_letters_of_other_keyboards_are_the_same() -> None:
    assert fits_record("e\u0301cole-primaire", make_record("\u00e9cole-primaire", SALT))


def test_who_is_not_there_takes_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def count(text: bytes, **parameters: Any) -> bytes:
        parameters.pop("salt")
        asked.append(parameters)
        return bytes(parameters["dklen"])

    monkeypatch.setattr(hashlib, "scrypt", count)
    assert not fits_record("a", None)
    assert not fits_record("a", RECORD)
    assert asked[0] == asked[1]
    assert (asked[0]["n"], asked[0]["r"], asked[0]["p"]) == (2**15, 8, 1)
    assert not fits_record(passwords._NOBODY, None)


@pytest.mark.parametrize(
    "password",
    ["", "123456789", "aaaaaaaaaaaa", "ababababab", "Ann@Example.com", "x" * 1_025],
)
def test_what_is_short_long_or_guessed_is_not_taken(password: str) -> None:
    with pytest.raises(PasswordRuleError):
        check_password(password, "Ann", "ann@example.com")


def test_other_passwords_are_taken() -> None:
    check_password("a few words", "Ann", "ann@example.com")
    check_password("\u00fc\u00df\u4e00" * 4)
