"""Says which services treadle was not run on yet, and what a run of the suite on one has shown.

For some kinds of destination there is a service and no server that the tests can start. Their tests
run on an emulator, and a person has to know that. The owner of an account runs the suite there
(`python -m treadle.destinations.conformance`); what that writes, a *proof*, is added to
`service_proofs.json` here, and takes the mark away.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

SERVICES: Final[Mapping[str, str]] = {
    "bigquery_v2": "BigQuery",
    "redshift": "Redshift",
    "snowflake": "Snowflake",
}
"""Type of a destination that its tests reach by an emulator alone -> name of the service."""

PROOFS_FILE: Final = "service_proofs.json"


@dataclass(frozen=True, slots=True)
class ServiceProof:
    """A run of the suite on a service, in which no test failed.

    Attributes:
        type: of the destination.
        treadle: version that was run.
        service: what the service says of its version; empty where it says nothing.
        day: of the run, such as `2026-11-30`.
        passed: tests that passed.
        skipped: tests that do not apply.
    """

    type: str
    treadle: str
    service: str
    day: str
    passed: int
    skipped: int


def read_proofs(text: str) -> list[ServiceProof]:
    """Return the proofs in a JSON array."""
    return [ServiceProof(**one) for one in json.loads(text)]


@cache
def list_proofs() -> Sequence[ServiceProof]:
    """Return the proofs that this release has."""
    return tuple(read_proofs(files(__package__).joinpath(PROOFS_FILE).read_text("utf-8")))


def describe_proof(type_: str, proofs: Sequence[ServiceProof] | None = None) -> str | None:
    """Return what a person has to know before records are loaded into a service.

    Args:
        type_: of the destination.
        proofs: that there are; those of this release by default.

    Returns:
        None where the tests of each change run on the database itself, or the suite has passed on
        the service.
    """
    service = SERVICES.get(type_)
    known = list_proofs() if proofs is None else proofs
    if service is None or any(one.type == type_ and one.passed for one in known):
        return None
    return (
        f"Not yet run on the service: the tests of treadle for {service} run on an emulator. Try "
        "it with tables that can be loaded again; `python -m treadle.destinations.conformance` "
        "proves it on an account."
    )
