"""A short run of the requests that are made up from the OpenAPI document."""

from collections import Counter

import pytest
from tests.fuzz.api import SURFACES, fuzz

SECONDS = 10
SITTINGS_MAX = 10
"""A machine with much else to do sends few requests in one sitting."""


@pytest.mark.slow
@pytest.mark.parametrize("surface", SURFACES)
def test_nothing_but_documented_answers(surface: str) -> None:
    answers: Counter[tuple[str, int]] = Counter()
    for seed in range(SITTINGS_MAX):
        findings = fuzz(surface, SECONDS, seed)
        assert not findings.wrong, f"seed {seed}\n" + "\n\n".join(findings.wrong.values())
        answers.update(findings.answers)
        operations = {operation for operation, _ in answers}
        if answers.total() > 20 and len(operations) > 5:
            return
    raise AssertionError(f"hardly anything was sent: {answers}")
