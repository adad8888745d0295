"""What the permission bits of a file let others do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.file_rights import Exposure, FileContent, describe_exposure, judge_rights

MODES = st.integers(0, 0o7777)


@given(MODES, st.sampled_from(FileContent))
def test_what_others_can_write_is_refused_whatever_it_holds(
    mode: int, content: FileContent
) -> None:
    for bit in (0o020, 0o002):
        assert judge_rights(mode | bit, content) is Exposure.REFUSED


@given(MODES, st.sampled_from(FileContent))
def test_what_belongs_to_its_owner_alone_is_private(mode: int, content: FileContent) -> None:
    assert judge_rights(mode & 0o7700, content) is Exposure.PRIVATE


@pytest.mark.parametrize(
    ("mode", "data", "key", "tls_key"),
    [
        (0o640, Exposure.READABLE, Exposure.REFUSED, Exposure.PRIVATE),
        (0o644, Exposure.READABLE, Exposure.REFUSED, Exposure.REFUSED),
        (0o604, Exposure.READABLE, Exposure.REFUSED, Exposure.REFUSED),
        (0o711, Exposure.READABLE, Exposure.REFUSED, Exposure.REFUSED),
        (0o750, Exposure.READABLE, Exposure.REFUSED, Exposure.PRIVATE),
    ],
)
def test_what_others_can_read_is_judged_by_what_it_holds(
    mode: int, data: Exposure, key: Exposure, tls_key: Exposure
) -> None:
    assert judge_rights(mode) is data
    assert judge_rights(mode, FileContent.KEY) is key
    assert judge_rights(mode, FileContent.TLS_KEY) is tls_key


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (0o644, "can be read by other users (mode 0644)"),
        (0o640, "can be read by users of its group (mode 0640)"),
        (0o666, "can be changed by other users (mode 0666)"),
        (0o664, "can be changed by users of its group (mode 0664)"),
        (0o1777, "can be changed by other users (mode 1777)"),
    ],
)
def test_an_exposure_is_told(mode: int, text: str) -> None:
    assert describe_exposure(mode) == text
