"""Streams: the tables that a source pushed (connect-api.md 2.10, connect-rest.md A.2.4)."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.control.api import Api, MakeApi
from tests.loads import load

from treadle.control.app import ConnectApiSettings
from treadle.store.model import KeptColumn, KeptColumns, KeptRelation

RULE = "body must contain a 'streams' property with a list of metadatas by tap_stream_id"

COLUMNS = KeptColumns(
    ("id",),
    (
        KeptRelation(
            (),
            "orders",
            (
                KeptColumn("_sdc_sequence", "_sdc_sequence", "bigint", True, True),
                KeptColumn("id", "id", "bigint", False, False),
                KeptColumn("name", "name", "text", True, False),
            ),
        ),
    ),
)


def push(api: Api, source_id: int, table: str, last: int = 1) -> int:
    """A table with two fields, as a load leaves it; its id."""
    api.store.loads.record_load(replace(load(source_id, table, last), columns=COLUMNS), [])
    return api.store.tables.list_pushed_tables(source_id)[-1].id


def select(*streams: dict[str, Any]) -> dict[str, Any]:
    return {"streams": list(streams)}


def stream(name: object, **metadata: object) -> dict[str, Any]:
    return {"tap_stream_id": name, "metadata": [{"breadcrumb": [], "metadata": metadata}]}


@pytest.mark.parametrize("deleted", [False, True])
def test_the_tables_of_a_source_are_its_streams(api: Api, deleted: bool) -> None:
    source_id, other = api.create()["id"], api.create("Other")["id"]
    path = f"/v4/sources/{source_id}/streams"
    assert api.get(path).text == "[]"
    first, second = push(api, source_id, "Orders"), push(api, source_id, "a b")
    push(api, other, "elsewhere")
    if deleted:
        api.delete(f"/v4/sources/{source_id}")
    metadata = '"metadata":{"selected":true,"table-key-properties":["id"]}'
    assert api.get(path).text == (
        f'[{{"selected":true,"stream_id":{first},"tap_stream_id":"Orders",'
        f'"stream_name":"Orders",{metadata}}},'
        f'{{"selected":true,"stream_id":{second},"tap_stream_id":"a b",'
        f'"stream_name":"a b",{metadata}}}]'
    )
    found = api.get(f"{path}/{first}")
    assert found.status == 200
    assert json.loads(found.body["schema"]) == {
        "type": "object",
        "properties": {"id": {"type": ["integer"]}, "name": {"type": ["null", "string"]}},
    }
    assert [part["breadcrumb"] for part in found.body["metadata"]] == [
        [],
        ["properties", "id"],
        ["properties", "name"],
    ]
    assert found.text.endswith(',"non-discoverable-metadata-keys":[]}')


def test_a_table_that_fails_from_the_beginning_is_a_stream_without_fields(api: Api) -> None:
    source_id = api.create()["id"]
    api.store.loads.record_failure(load(source_id, "bad", 1, error="no"), stopped=True)
    [found] = api.get(f"/v4/sources/{source_id}/streams").body
    assert (found["stream_name"], found["metadata"]["table-key-properties"]) == ("bad", [])
    schema = api.get(f"/v4/sources/{source_id}/streams/{found['stream_id']}").body["schema"]
    assert schema == '{"type":"object","properties":{}}'


def test_what_is_no_stream_of_the_source_is_unknown(api: Api) -> None:
    _, token = api.another_account()
    mine, other = api.create()["id"], api.create("Other")["id"]
    theirs = api.create("Theirs", token=token)["id"]
    of_other, of_theirs = push(api, other, "b"), push(api, theirs, "c")
    path = f"/v4/sources/{mine}/streams"
    for id_ in (of_other, of_theirs, 2288757, "metadata", "0", "01", "9" * 30, "-1"):
        answer = api.get(f"{path}/{id_}")
        assert (answer.status, answer.text) == (400, f'"invalid stream-id: {id_}"')
    for unknown in (theirs, 77, "x"):
        expected = (400, f"invalid stream-id: {unknown}")
        assert api.get(f"/v4/sources/{unknown}/streams").pair == expected
        assert api.put(f"/v4/sources/{unknown}/streams/metadata", select()).pair == expected
        expected = (400, f"invalid stream-id: {of_theirs}")
        assert api.get(f"/v4/sources/{unknown}/streams/{of_theirs}").pair == expected


def test_nothing_of_a_stream_can_be_selected(api: Api) -> None:
    source_id = api.create()["id"]
    path = f"/v4/sources/{source_id}/streams/metadata"
    push(api, source_id, "orders")
    push(api, source_id, "nil")
    push(api, source_id, "5")
    read_only = "only non-discoverable metadata can be produced by the UI: #"

    def refused(*streams: dict[str, Any]) -> str:
        answer = api.put(path, select(*streams))
        assert (answer.status, list(answer.body)) == (400, ["invalid_fields"])
        return str(answer.body["invalid_fields"])

    assert refused(stream("orders", selected=True)) == read_only + '{"selected"}'
    several = {"selected": True, 'odd "key"': 1}
    assert refused(stream("orders", **several)) == read_only + '{"selected" "odd \\"key\\""}'
    assert refused(stream("gone", selected=True)) == "invalid tap-stream-ids:  [gone]"
    assert refused(stream("orders"), stream("gone")) == "invalid tap-stream-ids:  [gone]"
    assert refused({"metadata": []}) == "invalid tap-stream-ids:  [nil]"
    assert refused(stream(5), stream("x")) == "invalid tap-stream-ids:  [5 x]"
    assert api.put(path, select(stream("orders"))).pair == (200, {"status": 200})
    assert api.put(path, select()).pair == (200, {"status": 200})
    bodies: list[object] = [{}, {"streams": None}, [], {"streams": [{"tap_stream_id": "a"}]}]
    for body in bodies:
        assert api.put(path, body).pair == (400, RULE)
    assert api.put(path, raw=b"{").text == f'"{RULE}"'
    assert api.changes == 1


def test_a_setting_hides_all_streams(make_api: MakeApi) -> None:
    api = make_api(ConnectApiSettings(lists_streams=False))
    source_id = api.create()["id"]
    table = push(api, source_id, "orders")
    path = f"/v4/sources/{source_id}/streams"
    assert api.get(path).pair == (200, [])
    assert api.get(f"{path}/{table}").pair == (400, f"invalid stream-id: {table}")
    message = "invalid tap-stream-ids:  [orders]"
    answer = api.put(f"{path}/metadata", select(stream("orders", selected=True)))
    assert answer.pair == (400, {"invalid_fields": message})
