"""Which records are refused: a header and a dry run name them, beside the documented body."""

import json
from typing import Any

from tests.servers.cases import REC, compare, e422, rec
from tests.servers.ingest import CLIENT, ImportServer

PUSH = "/v2/import/push"
NO_KEY = {"data": ["data must include keys"]}


def make_push(count: int, *wrong: int) -> list[dict[str, Any]]:
    return [rec(data={} if index in wrong else {"id": index}) for index in range(count)]


def test_a_header_names_the_records_of_a_large_push(server: ImportServer) -> None:
    answer = server.post(PUSH, make_push(20_000, 17, 204))
    compare(answer, 422, e422(NO_KEY, NO_KEY))
    assert answer.header("treadle-records") == "17,204"
    # To the byte as without the header.
    assert answer.body == (
        b'{"status":"ERROR","error":"Request cannot be processed; see errors.",'
        b'"errors":[{"reason":{"data":["data must include keys"]}},'
        b'{"reason":{"data":["data must include keys"]}}]}'
    )
    assert server.accepted() == 0


def test_it_names_a_few_of_many(server: ImportServer) -> None:
    answer = server.post(PUSH, make_push(1000, *range(1000)))
    assert answer.header("treadle-records") == ",".join(map(str, range(20)))
    assert len(answer.json()["errors"]) == 1000


def test_every_door_has_it(server: ImportServer) -> None:
    body = [REC, 5, rec(sequence="x"), rec(table_name="other", action="other")]
    for path in (PUSH, "/v2/import/validate"):
        answer = server.post(path, body)
        assert (answer.status, answer.header("treadle-records")) == (422, "1,2,3")
    foreign = server.post(PUSH, [REC, rec(client_id=9999), REC, rec(client_id="9999")])
    assert len(foreign.json()["errors"]) == 1
    assert foreign.header("treadle-records") == "1,3"
    transit = server.post(
        PUSH, json.dumps(make_push(3, 1)).encode(), content_type="application/transit+json"
    )
    assert (transit.status, transit.header("treadle-records")) == (422, "1")
    bare = server.post("/v1/tables/people/records?key=id", [{"id": 1}, {"no": 1}, {"id": None}])
    assert (bare.status, bare.header("treadle-records")) == (422, "1,2")
    wide = {f"f{number}": number for number in range(10_001)}
    hook = server.post(f"/v1/clients/{CLIENT}/token/{server.token}", [{"id": 1}, wide])
    assert (hook.status, hook.header("treadle-records")) == (422, "1")
    # A refusal that is about no record has none.
    for refused in (server.post(PUSH, []), server.post(PUSH, [REC], token="no token")):
        assert refused.header("treadle-records") is None


def test_a_dry_run_names_all_of_them(server: ImportServer) -> None:
    wrong = range(0, 1000, 10)
    answer = server.post(f"{PUSH}?dry_run=1", make_push(1000, *wrong))
    assert answer.status == 422
    body = answer.json()
    assert list(body) == ["status", "error", "errors", "records"]
    assert body["records"] == [*wrong]
    assert body["errors"] == [{"reason": NO_KEY}] * len(wrong)
    assert answer.header("treadle-records") == ",".join(map(str, wrong[:20]))
