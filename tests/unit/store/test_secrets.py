import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import OperatorError
from treadle.store.key_files import (
    has_next_key,
    load_cipher,
    make_next_key,
    promote_next_key,
)
from treadle.store.secrets import SecretCipher, hash_token, mint_token

KEY = bytes(range(32))


@given(st.text(), st.text())
def test_a_sealed_text_opens_in_its_own_place(text: str, context: str) -> None:
    cipher = SecretCipher(KEY)
    sealed = cipher.seal(text, context)
    assert SecretCipher(KEY).open(sealed, context) == text
    assert cipher.seal(text, context) != sealed


def test_a_sealed_text_does_not_open_elsewhere_or_changed_or_with_another_key() -> None:
    sealed = SecretCipher(KEY).seal("at_secret", "token 1")
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for cipher, text, context in [
        (SecretCipher(KEY), sealed, "token 2"),
        (SecretCipher(KEY), changed, "token 1"),
        (SecretCipher(KEY), b"", "token 1"),
        (SecretCipher(bytes(32)), sealed, "token 1"),
    ]:
        with pytest.raises(OperatorError, match="does not open with this key") as caught:
            cipher.open(text, context)
        assert "at_secret" not in str(caught.value)


def test_the_check_value_tells_keys_apart() -> None:
    value = SecretCipher(KEY).check_value
    assert SecretCipher(KEY).is_key_of(value)
    assert not SecretCipher(bytes(32)).is_key_of(value)
    assert KEY.hex() not in value


def test_tokens_are_long_and_different() -> None:
    first, second = mint_token("at_"), mint_token("at_")
    assert first.startswith("at_")
    assert len(first) == 3 + 64
    assert first != second
    assert len(hash_token(first)) == 32
    assert hash_token("\ud800") != hash_token("?")


def test_the_key_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    old = os.umask(0)
    try:
        first = load_cipher(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert load_cipher(path).check_value == first.check_value


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    cipher = load_cipher(tmp_path / "key", KEY.hex() + "\n")
    assert cipher.check_value == SecretCipher(KEY).check_value
    assert not (tmp_path / "key").exists()
    load_cipher(tmp_path / "key", "")
    assert (tmp_path / "key").exists()


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "0" * 63, "0" * 66])
def test_a_key_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(OperatorError, match="must hold 64 hexadecimal digits") as caught:
        load_cipher(path)
    assert not text or text not in str(caught.value)
    if text:
        with pytest.raises(OperatorError, match="TREADLE_SECRET_KEY holds no key"):
            load_cipher(path, text)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    load_cipher(path)
    path.chmod(mode)
    with pytest.raises(OperatorError, match=f"chmod 600 {path}"):
        load_cipher(path)


def test_a_key_file_that_cannot_be_made_or_read_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="its folder is missing"):
        load_cipher(tmp_path / "nowhere" / "key")
    with pytest.raises(OperatorError, match="is not a file"):
        load_cipher(tmp_path)
    if os.geteuid() != 0:
        path = tmp_path / "key"
        load_cipher(path)
        path.chmod(0)
        with pytest.raises(OperatorError, match="make it readable"):
            load_cipher(path)


def test_a_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(OperatorError, match="has 31 bytes"):
        SecretCipher(bytes(31))


# Two keys


def test_both_keys_open_and_the_one_in_force_seals() -> None:
    both, new = SecretCipher(KEY, bytes(32)), SecretCipher(bytes(32))
    assert both.open(SecretCipher(KEY).seal("at_x", "c"), "c") == "at_x"
    assert both.open(new.seal("at_x", "c"), "c") == "at_x"
    sealed = both.seal("at_x", "c", new.check_value)
    assert new.open(sealed, "c") == "at_x"
    with pytest.raises(OperatorError, match="does not open"):
        SecretCipher(KEY).open(sealed, "c")
    with pytest.raises(OperatorError, match="the secret key was rotated"):
        SecretCipher(KEY).seal("at_x", "c", new.check_value)


def test_keys_are_read_again_when_one_is_not_known() -> None:
    asked: list[int] = []

    def reread() -> list[bytes]:
        asked.append(1)
        return [bytes(32)]

    cipher = SecretCipher(KEY, reread=reread)
    old = cipher.seal("at_x", "c")
    assert not asked
    assert cipher.open(SecretCipher(bytes(32)).seal("at_new", "c"), "c") == "at_new"
    assert cipher.open(old, "c") == "at_x"  # a reader that began before the rotation
    assert asked == [1]
    with pytest.raises(OperatorError):
        cipher.open(b"damaged", "c")
    assert not cipher.is_key_of("0" * 64)


def test_a_rotation_of_the_key_file_at_each_step(tmp_path: Path) -> None:
    path = tmp_path / "key"
    old = load_cipher(path)
    running = load_cipher(path)
    key = make_next_key(path)
    assert has_next_key(path)
    assert stat.S_IMODE((tmp_path / "key.next").stat().st_mode) == 0o600
    assert make_next_key(path).check_value == key.check_value  # run again, it is the same
    started_between = load_cipher(path)
    for cipher in (running, started_between):
        assert cipher.is_key_of(old.check_value)
        assert cipher.is_key_of(key.check_value)

    former = promote_next_key(path)
    assert not has_next_key(path)
    assert SecretCipher(bytes.fromhex(former.read_text().strip())).check_value == old.check_value
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    started_after = load_cipher(path)
    assert started_after.check_value == key.check_value
    assert not started_after.is_key_of(old.check_value)
    assert old.is_key_of(key.check_value)  # it reads the file again
    with pytest.raises(OperatorError, match="finished this rotation"):
        promote_next_key(path)


def test_a_next_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    load_cipher(path)
    make_next_key(path)
    (tmp_path / "key.next").chmod(0o644)
    with pytest.raises(OperatorError, match="chmod 600"):
        load_cipher(path)
    with pytest.raises(OperatorError, match="chmod 600"):
        make_next_key(path)


def test_a_given_key_is_rotated_to_a_given_one(tmp_path: Path) -> None:
    cipher = load_cipher(tmp_path / "key", KEY.hex(), "00" * 32)
    assert cipher.check_value == SecretCipher(KEY).check_value
    assert cipher.is_key_of(SecretCipher(bytes(32)).check_value)
    with pytest.raises(OperatorError, match="TREADLE_NEXT_SECRET_KEY holds no key"):
        load_cipher(tmp_path / "key", KEY.hex(), "abc")
