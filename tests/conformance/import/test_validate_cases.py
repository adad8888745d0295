"""import-api.md 18 D: validate."""

from tests.servers.cases import (
    FOREIGN,
    NO_ARRAY,
    NOT_AUTHENTICATED,
    VALID,
    Case,
    e422,
    env,
    parameters,
    rec,
    run,
)
from tests.servers.ingest import UNKNOWN_TOKEN, ImportServer

TRANSIT = (
    b'[["^ ","client_id",4321,"table_name","t","sequence",1,"action","upsert",'
    b'"key_names",["id"],"data",["^ ","id",1]]]'
)

CASES = [
    Case("85", [rec()], 200, VALID),
    Case(
        "86",
        [rec()],
        401,
        NOT_AUTHENTICATED,
        token=None,
        headers={"Authorization": f"Bearer {UNKNOWN_TOKEN}"},
    ),
    Case("87", [rec(client_id=9999)], 403, FOREIGN),
    Case(
        "88",
        [rec(sequence="100")],
        422,
        e422({"sequence": ["should be an integer", "should be a number"]}),
    ),
    Case("89", env(), 400, NO_ARRAY),
    Case("90", TRANSIT, 200, VALID, content_type="application/transit+json"),
]


@parameters(CASES)
def test_validate_says_and_keeps_nothing(server: ImportServer, case: Case) -> None:
    before = server.accepted()
    run(server, "/v2/import/validate", case)
    assert server.accepted() == before
