"""Everything in the corpus of the fuzz targets, once, without a fuzzer."""

from pathlib import Path

import pytest
from tests.fuzz.decoder_targets import TARGETS as DECODERS
from tests.fuzz.wire_target import fuzz_wire

TARGETS = {**DECODERS, "wire": fuzz_wire}
CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
INPUTS = sorted(path for name in TARGETS for path in (CORPUS / name).iterdir())


def test_every_target_has_inputs() -> None:
    assert {path.parent.name for path in INPUTS} == set(TARGETS)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_input(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())
