"""A short run of the requests that are made up from the OpenAPI document."""

import pytest
from tests.fuzz.request_fuzzer import SURFACES, fuzz

SEED = 1
DAILY = 1
AT_A_TIME = 4
SECONDS_MAX = 900
"""A machine with much else to do is slow; what is sent is the same on all machines."""
BELOW = {"seed": ("/",), "modern": ("/v3/", "/v4/", "/notifications/")}
"""The calls of each surface: those of treadle's own are the same in both."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("surface", "at_a_time"),
    [
        ("seed", DAILY),
        *(pytest.param(surface, AT_A_TIME, marks=pytest.mark.release) for surface in SURFACES),
    ],
)
def test_nothing_but_documented_answers(surface: str, at_a_time: int) -> None:
    findings = fuzz(surface, SECONDS_MAX, SEED, rounds=1, at_a_time=at_a_time, below=BELOW[surface])
    assert not findings.wrong, f"seed {SEED}\n" + "\n\n".join(findings.wrong.values())
    assert not findings.unanswered()
    assert findings.answers.total() > 100, findings.answers
