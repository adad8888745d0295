"""Trying pasted records: as a request is checked, and as `treadle plan` plans (J25)."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.loading.runner import _request, cases
from tests.integration.console.test_pages import EVIL, make_source
from tests.integration.console.visitor import Console, Page, Visitor
from tests.kinds import take_some_daily
from tests.work_turns import ALONE

from treadle.cli.main import main
from treadle.clock import read_clock
from treadle.config import Config
from treadle.console.pages.trial import decode_body, list_reasons
from treadle.console.pasted_text import PastedBody, PasteKind, PasteRefusedError, read_pasted
from treadle.destinations.conformance.loading import literals
from treadle.destinations.forecast import forecast_document
from treadle.errors import RequestRefusedError
from treadle.ingest.dry_run import DryRunPlanner, open_anywhere
from treadle.records import batch, push
from treadle.server.factories import open_store
from treadle.server.startup import set_up_store

CASES = cases(Path(literals.__file__).parent / "cases.json")


@pytest.fixture
def visitor(console: Console) -> Visitor:
    console.store.sessions.leave_guide(console.account.id)
    return console.sign_in()


def read_document(page: Page) -> Any:
    found = re.search(r'(?s)<pre id="plan-document">(.*?)</pre>', page.text)
    assert found, page.words
    return json.loads(unescape(found[1]))


def test_plain_records_are_planned_and_nothing_is_kept(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    before = console.store.get_revision()
    text = '{"id": 1, "mix": 1}\n{"id": 2, "mix": "text", "tags": ["a"]}'
    page = visitor.post("/try", text=text, source=source.id, table="orders", keys="id")
    assert page.status == 200, page.words
    [table] = read_document(page)["tables"]
    assert table["rows_loaded"] == 2
    assert table["tables_created"] == ["orders", "orders__tags"]
    assert "CREATE TABLE" in page.text
    assert "Accepted." in page.words
    assert console.store.get_revision() == before
    assert not (console.path.parent / "w.duckdb").exists()


def test_each_record_that_is_wrong_is_named_with_its_reason(
    visitor: Visitor, console: Console
) -> None:
    source = make_source(console)
    text = '[{"id": 1}, {"name": "no key"}, {"id": 3}, 7]'
    page = visitor.post("/try", text=text, source=source.id, table="orders", keys="id")
    assert page.status == 200
    assert "Refused with 422" in page.words
    rows = re.findall(r'class="number">(\d+)</th><td class="wide">(.*?)</td>', page.text)
    assert rows == [("2", "data: data must include keys"), ("4", "data: data must be an object")]
    assert "no key" in page.words


def test_a_body_of_another_account_is_refused_as_the_server_does(
    visitor: Visitor, console: Console
) -> None:
    source = make_source(console)
    message = {
        "client_id": 99,
        "table_name": "t",
        "sequence": 1,
        "action": "upsert",
        "key_names": [],
        "data": {},
    }
    page = visitor.post("/try", text=json.dumps([message]), source=source.id)
    assert "Refused with 403" in page.words
    assert "not associated with this client" in page.words
    assert PasteKind.PUSH.value in page.words


def test_a_table_schema_counts(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    schema = b'{"type":"object","properties":{"id":{"type":"integer"}}}'
    console.store.table_schemas.set_schema(source, "orders", schema)
    page = visitor.post(
        "/try", text='{"id": 1}\n{"id": "x"}', source=source.id, table="orders", keys="id"
    )
    assert "Refused with 422" in page.words
    assert '<th scope="row" class="number">2</th>' in page.text


def test_what_cannot_be_tried_is_said_and_stays_in_the_form(
    visitor: Visitor, console: Console
) -> None:
    source = make_source(console)
    page = visitor.post("/try", text='{"id": 1}', source="", table="t")
    assert page.status == 400
    assert "Choose a source" in page.words
    page = visitor.post("/try", text="id;name", source=source.id, table="t")
    assert page.status == 400
    assert "Line 1 is no JSON object" in page.words
    assert "id;name</textarea>" in page.text
    other, _ = console.store.accounts.create_account("second")
    foreign = console.store.sources.create_source(
        other.id, type="import_api", display_name="X", name="x", bootstrap_token=False
    )
    page = visitor.post("/try", text='{"id": 1}', source=foreign.id, table="t")
    assert page.status == 400


def test_what_was_pasted_is_not_read_on_the_event_loop(
    visitor: Visitor, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of it would hold up all pushes of a worker."""
    threads = []

    def note(*given: Any) -> PastedBody:
        threads.append(threading.current_thread())
        return read_pasted(*given)

    monkeypatch.setattr("treadle.console.pages.trial.read_pasted", note)
    page = visitor.post("/try", text='{"id": 1}', source=make_source(console).id, table="t")
    assert page.status == 200
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()  # which runs the event loop


def test_hostile_records_are_text(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    record = json.dumps({"id": 1, EVIL: EVIL})
    page = visitor.post("/try", text=record, source=source.id, table=EVIL, keys="id")
    assert page.status == 200, page.words
    assert "<script>alert" not in page.text
    assert len(page.text) < 60_000


def test_more_than_a_page_takes_is_refused_with_the_way_out(
    visitor: Visitor, console: Console
) -> None:
    source = make_source(console)
    text = json.dumps([{"id": 1, "text": "x" * 1_100_000}])
    page = visitor.post("/try", text=text, source=source.id, table="orders")
    assert page.status == 413
    assert "larger than" in page.words
    assert "treadle plan" in page.words


def test_reasons_of_every_form_are_sentences() -> None:
    assert list_reasons("record must be an object") == ("record must be an object",)
    assert list_reasons({"data": ["a", "b"], "x": "c"}) == ("data: a", "data: b", "x: c")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans") / "data"


@pytest.fixture(scope="module")
def planner(folder: Path) -> Iterator[DryRunPlanner]:
    """Over the store of a data folder, in which commands run, too."""
    config = Config(data=folder)
    config.make_data_folder()
    assert set_up_store(config) is not None
    store = open_store(config)
    url = f"duckdb:///{folder}/warehouse.duckdb"
    store.destinations.set_default_destination(1, "duckdb", url, "warehouse")
    store.sources.create_source(
        1, type="import_api", display_name="Shop", name="shop", bootstrap_token=False
    )
    made = DryRunPlanner(store, read_clock, open_anywhere, ALONE)
    yield made
    made.close()
    store.close()


def plan_on_page(planner: DryRunPlanner, text: str, table: str, keys: list[str]) -> Any:
    """What the page plans, or the status with which it says that all is refused."""
    pasted = read_pasted(text, table, keys, 1, 1_000)
    try:
        batches = decode_body(pasted, 1, {})
    except RequestRefusedError as refused:
        return refused.status
    [source] = planner.store.sources.list_sources(1)
    return [forecast_document(one) for one in asyncio.run(planner.plan(1, source.id, batches))]


def read_push(body: bytes) -> Any:
    return push.check_body(push.decode_body(body, transit=False), 1)


def decode_alone(pasted: PastedBody, body: bytes) -> Any:
    assert pasted.body == body
    return decode_body(pasted, 1, {})


def read_or_refuse(read: Callable[[bytes], Any], body: bytes) -> Any:
    """What a body holds, or the status with which it is refused."""
    try:
        return read(body)
    except RequestRefusedError as refused:
        return refused.status


@pytest.mark.parametrize("case", take_some_daily(CASES, 4))
def test_the_page_plans_as_the_command(
    case: dict[str, Any],
    planner: DryRunPlanner,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """J25: each input of the numbered loading cases, as records and as a body."""
    for request in [one for step in case["loads"] if isinstance(step, list) for one in step]:
        path, body = _request(request)
        raw = body.encode()
        try:
            pasted = read_pasted(body, "", [], 1, 0)
        except PasteRefusedError:  # and the server says that it is no JSON
            assert read_or_refuse(read_push, raw) == 400
            continue
        if path.endswith("batch"):
            assert pasted.kind is PasteKind.BATCH
            expected = read_or_refuse(batch.read_inline, raw)
        else:
            assert pasted.kind is PasteKind.PUSH
            expected = read_or_refuse(read_push, raw)
        assert read_or_refuse(partial(decode_alone, pasted), raw) == expected
        if "push" not in request:
            continue
        what = request["push"]
        lines = "\n".join(literals.dumps(data) for _, data in what["rows"])
        file = tmp_path / "records.jsonl"
        file.write_text(lines)
        command = ["plan", str(file), "--data", str(folder), "--table", what["table"], "--json"]
        for key in what["keys"]:
            command += ["--key", key]
        capsys.readouterr()
        code = main(command)
        said = capsys.readouterr()
        planned = plan_on_page(planner, lines, what["table"], what["keys"])
        if code:
            assert isinstance(planned, int) or planned[0]["error"], said.err
        else:
            assert planned == [json.loads(said.out)]
