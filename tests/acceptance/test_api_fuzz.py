"""A short run of the requests that are made up from the OpenAPI document."""

import random

import pytest
from tests.fuzz.api import SURFACES, fuzz

SECONDS = 10


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
def test_nothing_but_documented_answers(surface: str) -> None:
    seed = random.getrandbits(32)
    findings = fuzz(surface, SECONDS, seed)
    assert not findings.wrong, f"seed {seed}\n" + "\n\n".join(findings.wrong.values())
    assert findings.answers.total() > 20
    assert len(findings.operations()) > 5
