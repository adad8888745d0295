"""Rejected records and stopped tables, mended by the pages as without scripts."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.console.house import BAD, HouseConsole
from tests.integration.console.visitor import Page, Visitor
from tests.servers.cases import rec
from tests.servers.loading import Warehouse

from treadle.store.model import ConsoleRole, EntryOutcome, RecordRejection
from treadle.tables.rejection_reason import RejectionCode


@pytest.fixture
def house(tmp_path: Path) -> Iterator[HouseConsole]:
    made = Warehouse(tmp_path)
    with made.running():
        console = HouseConsole(made)
        yield console
        console.close()
    made.loader.close()
    made.store.close()


@pytest.fixture
def visitor(house: HouseConsole) -> Visitor:
    return house.sign_in()


def find_links(page: Page, pattern: str) -> list[str]:
    return list(dict.fromkeys(re.findall(rf'href="/console({pattern})"', page.text)))


def reject_some(house: HouseConsole) -> None:
    house.push(
        rec(data={"id": 1, "n": 1}),
        *(rec(sequence=number, data={"id": number, "n": BAD}) for number in range(2, 27)),
        rec(data={"id": 99, "items": [{"p": BAD}]}),
    )


def test_a_cause_is_edited_previewed_and_sent_again_once(
    visitor: Visitor, house: HouseConsole
) -> None:
    reject_some(house)
    page = visitor.see("/rejects")
    assert "integer out of range n active.customers 25 25" in page.words
    assert "integer out of range items__p active.customers 1 1" in page.words
    paths = find_links(page, r"/rejects/\d+")
    [path] = [one for one in paths if "Integer out of range: n" in visitor.see(one).words]
    listed = visitor.see(path)
    assert "Resend 25 open records of this filter" in listed.words
    assert '{"id":26}' in listed.words.replace(" ", "")
    narrow = visitor.see(f"{path}?since=2020-01-01T00:00&open=1")
    assert f"{path}/resend?since=2020-01-01T00%3A00&amp;open=1" in narrow.text
    assert "--since 2020-01-01T00:00:00Z --open" in narrow.words

    asked = visitor.see(f"{path}/resend")
    assert "would be rejected again integer out of range for DuckDB" in asked.words
    assert asked.field("expected") == "25"
    wrong = visitor.post(f"{path}/resend", step="preview", set="n: 3", unset="")
    assert wrong.status == 400
    assert "Line 1 of the fields to set is to be FIELD = JSON" in wrong.words
    edited = visitor.post(f"{path}/resend", step="preview", set="n = 3", unset="")
    assert edited.words.count("would be loaded") == 20
    assert "Resend 25 open records with this edit" in edited.words
    assert "--set &#39;n=3&#39;" in edited.text

    stale = visitor.post(f"{path}/resend", step="send", set="n = 3", unset="", expected="24")
    assert stale.status == 409
    assert "24 records were expected, and 25 are open now" in stale.words
    assert stale.field("expected") == "25"
    assert house.store.operations.list_operations(4321) == []

    sent = visitor.post(f"{path}/resend", step="send", set="n = 3", unset="", expected="25")
    assert sent.status == 303
    operation = sent.location.removeprefix("/console")
    assert "waits to begin" in visitor.see(operation).words
    assert "Stop it" in visitor.see(operation).words
    house.send_again()
    done = visitor.see(operation)
    assert "25 sent again, 0 failed of 25" in done.words
    assert "Stop it" not in done.words
    region = visitor.see(f"/regions/operations/{operation.rpartition('/')[2]}")
    assert "data-settled" in region.text
    assert "done 25 25 0" in visitor.see("/rejects").words
    rows = house.rows("count(*), sum(n)", "customers")
    assert rows == [(26, 76)]

    again = visitor.see(path)
    assert "Resend" not in re.sub(r"Last resends|rejects resend", "", again.words)
    assert "25, 0 of them open" in again.words
    twice = visitor.post(f"{path}/resend", step="send", set="n = 3", unset="", expected="25")
    assert twice.status == 409
    assert "each was sent again" in visitor.see(f"{path}/resend").words
    house.send_again()
    assert house.rows("count(*), sum(n)", "customers") == [(26, 76)]


def test_a_resend_is_stopped_and_kept_from_others(visitor: Visitor, house: HouseConsole) -> None:
    reject_some(house)
    [path] = [
        one
        for one in find_links(visitor.see("/rejects"), r"/rejects/\d+")
        if "items__p" in visitor.see(one).words
    ]
    sent = visitor.post(f"{path}/resend", step="send", set="", unset="", expected="1")
    operation = sent.location.removeprefix("/console")
    assert visitor.post(operation).status == 303
    assert "stopped" in visitor.see(operation).words
    assert visitor.get("/console/operations/999").status == 404
    assert visitor.get("/console/rejects/999").status == 404
    assert visitor.get("/console/rejects/records/999.0").status == 404
    viewer = house.sign_in(ConsoleRole.VIEWER)
    assert "open records of this filter" not in viewer.see(path).words
    assert viewer.get(f"/console{path}/resend").status == 403
    [record] = find_links(viewer.see(path), r"/rejects/records/[\d.]+")
    assert "Values of records are not shown to this session" in viewer.see(record).words
    assert "textarea" not in viewer.see(record).text
    house.store.sources.update_source(4321, house.house.source_id, paused_at=1)
    assert "is paused, so nothing of it can be sent again" in visitor.see(path).words
    refused = visitor.post(f"{path}/resend", step="send", set="", unset="", expected="1")
    assert refused.status == 409
    assert "paused" in refused.words


def test_a_viewer_sees_causes_without_values(visitor: Visitor, house: HouseConsole) -> None:
    house.push(rec(data={"id": 1, "n": BAD}))
    [cause] = find_links(visitor.see("/rejects"), r"/rejects/\d+")
    [record] = find_links(visitor.see(cause), r"/rejects/records/[\d.]+")
    tab = f"/sources/{house.house.source_id}/tables/customers/rejected"
    search = "/rejects/records?reason=10000"
    pages = ("/rejects", cause, record, "/rejects/records", search, tab)
    viewer = house.sign_in(ConsoleRole.VIEWER)
    for path in pages:
        assert str(BAD) in visitor.see(path).words, path
        hidden = viewer.see(path)
        assert str(BAD) not in hidden.words, path
        assert "integer out of range" in hidden.words.lower(), path
    table = tab.removesuffix("/rejected")
    [load] = find_links(visitor.see("/loads"), r"/loads/[\w-]+")
    for path in (table, f"{table}/loads", load):
        assert str(BAD) in visitor.see(path).words, path
        assert str(BAD) not in viewer.see(path).words, path
        assert "the page rejected has why" in viewer.see(path).words.lower(), path
    # A search would tell the value digit by digit.
    assert "Reason has" not in viewer.see("/rejects/records").words
    assert "integer out of range: n" in viewer.see("/rejects/records?reason=999").words
    assert "No rejected record fits" in visitor.see("/rejects/records?reason=999").words


def test_one_record_is_mended_and_followed_to_its_end(
    visitor: Visitor, house: HouseConsole
) -> None:
    house.push(rec(sequence=7, data={"id": 1, "n": BAD}))
    [path] = find_links(visitor.see("/rejects/records"), r"/rejects/records/[\d.]+")
    page = visitor.see(path)
    assert f'{{ "id": 1, "n": {BAD} }}' in page.words
    assert "until then the log keeps it, and it can be sent again" in page.words
    broken = visitor.post(path, step="send", record='{"id": 1, "n": }')
    assert broken.status == 400
    assert 'id="record-fault" role="alert">This is no JSON:' in broken.text
    assert "{&#34;id&#34;: 1, &#34;n&#34;: }" in broken.text
    bad = visitor.post(path, step="check", record=f'{{"id": 1, "n": {BAD + 1}}}')
    assert "would be rejected again integer out of range" in bad.words
    good = visitor.post(path, step="check", record='{"id": 1, "n": 5}')
    assert "would be loaded" in good.words
    assert house.store.operations.list_operations(4321) == []
    sent = visitor.post(path, step="send", record='{"id": 1,\r\n "n": 5}')
    assert sent.status == 303
    following = sent.location.removeprefix("/console")
    waits = visitor.see(following)
    assert "being sent" in waits.words
    assert 'data-follow="/console/regions/rejects/' in waits.text
    while house.resends.run_once():
        pass
    assert "waits to be loaded receipt rc_" in visitor.see(following).words
    house.house.load()
    loaded = visitor.see(following)
    assert "loaded receipt rc_" in loaded.words
    assert "data-follow" not in loaded.text
    assert "/tables/customers/rows?show=1" in loaded.text
    assert house.rows("id, n, _sdc_sequence", "customers") == [(1, 5, 7)]
    late = visitor.post(path, step="send", record='{"id": 1, "n": 6}')
    assert late.status == 409


def test_values_that_nobody_sees_are_in_no_answer_to_a_form(
    visitor: Visitor, house: HouseConsole
) -> None:
    """`console_payloads = off`: a posted form shows no more than the page that has none."""
    secret = BAD + 4711
    house.push(rec(data={"id": 1, "n": secret, "note": "for Ann only"}))
    [record] = find_links(visitor.see("/rejects/records"), r"/rejects/records/[\d.]+")
    [cause] = find_links(visitor.see("/rejects"), r"/rejects/\d+")
    csrf = visitor.see("/help").field("csrf")
    object.__setattr__(house.services, "payloads", "off")
    edit = json.dumps({"id": 1, "n": secret + 1})
    forms: list[tuple[str, dict[str, str]]] = [
        (record, {"step": "check", "whole": "1"}),
        (record, {"step": "check", "record": edit}),
        (record, {"step": "check", "record": "{"}),
        (record, {"step": "send", "record": "[]"}),
        (f"{cause}/resend", {"step": "preview", "set": "", "unset": ""}),
        (f"{cause}/resend", {"step": "preview", "set": f"n={secret + 1}", "unset": ""}),
        (f"{cause}/resend", {"step": "send", "set": "", "unset": "", "expected": "5"}),
    ]
    for path, form in forms:
        answer = visitor.send("POST", f"/console{path}", {"csrf": csrf, **form})
        text = answer.text.replace(form.get("set", "") or "x", "")
        for value in (str(secret), "for Ann"):
            assert value not in text, (path, form)
            assert value not in visitor.see(path).text
        if form["step"] == "check":
            assert answer.status == 403
    assert house.store.operations.list_operations(4321) == []


def test_a_record_that_is_rejected_again_leads_to_the_new_one(
    visitor: Visitor, house: HouseConsole
) -> None:
    house.push(rec(data={"id": 1, "n": BAD}))
    [path] = find_links(visitor.see("/rejects/records"), r"/rejects/records/[\d.]+")
    text = json.dumps({"id": 1, "n": BAD * 10})
    following = visitor.post(path, step="send", record=text).location.removeprefix("/console")
    house.send_again()
    page = visitor.see(following)
    assert "rejected again" in page.words
    [new] = find_links(page, r"/rejects/records/[\d.]+")
    assert str(BAD * 10) in visitor.see(new).words


def test_a_record_that_the_log_has_forgotten(visitor: Visitor, house: HouseConsole) -> None:
    house.push(rec(data={"id": 1}))
    report = next(iter(house.store.loads.list_loads(limit=1)))
    rejection = RecordRejection(0, "NUL character", RejectionCode.NUL_CHARACTER, "a")
    older = replace(report, id="older", table_name="old", first=900, last=900, columns=None)
    house.store.loads.record_load(
        older, [EntryOutcome(900, report.source_id, "old", 0, (rejection,))]
    )
    page = visitor.get("/console/rejects/records/900.0")
    assert page.status == 410
    assert "The record is no longer kept" in page.words
    assert "push it again with `treadle push`" in page.words
    assert 'FROM "active"._sdc_rejected' in page.words
    assert "not kept" in visitor.see("/rejects/records").words
    asked = visitor.get("/console/rejects/records/900.0?text=1")
    assert asked.status == 410
    assert "cannot be reached" in asked.words  # there is no desk here


def test_a_table_stopped_by_another_key_goes_on_by_a_button(
    visitor: Visitor, house: HouseConsole
) -> None:
    house.push(rec(data={"id": 1, "a": "x"}))
    house.push(rec(key_names=["a"], data={"id": 2, "a": "y"}))
    path = f"/sources/{house.house.source_id}/tables/customers"
    page = visitor.see(path)
    assert "The table is stopped. Keys for table do not match" in page.words
    assert "Set key_change=append" in page.words
    assert 'DROP TABLE "active"."customers"' in page.words
    assert "1 record waits" in page.words
    waiting = visitor.see(f"{path}/waiting")
    assert '1565880017 a {"id": 2, "a": "y"}' in waiting.words
    assert "stopped" in visitor.see("/tables?state=failing,stopped").words
    assert "No table fits" in visitor.see("/tables?state=idle").words
    wrong = visitor.post(path, action="remedy", option="split_mode=reject")
    assert wrong.status == 400
    done = visitor.post(path, action="remedy", option="key_change=append")
    assert done.location == f"/console{path}?done=remedy"
    house.house.load()
    assert len(house.rows("id", "customers")) == 2
    after = visitor.see(path)
    assert "idle" in after.words
    assert "table" in visitor.see(f"{path}/options").words
    history = visitor.see(f"{path}/history").words
    assert "the table stopped" in history
    assert "the table is loaded again" in history
    actions = [one.action for one in house.store.trail.list_events(limit=10)]
    assert "retry_table" in actions


def test_the_parts_of_a_table(visitor: Visitor, house: HouseConsole) -> None:
    house.push(rec(data={"id": 1, "mix": 1, "tags": [{"t": 1}]}))
    bad = rec(data={"id": 3, "v__st": "left"})
    house.push(rec(data={"id": 2, "mix": "text"}, sequence=2), bad)
    path = f"/sources/{house.house.source_id}/tables/customers"
    page = visitor.see(path)
    assert "split beside" in page.words
    assert "mix ◐ split beside mix__st" in page.words
    assert "mix__st" in page.words
    assert "customers__tags" in page.words
    rebuild = visitor.see(f"{path}/rebuild")
    assert "treadle replay --source active --table 'customers' --dry-run" in rebuild.words
    asked = visitor.post(f"{path}/rebuild", action="compare")
    operation = asked.location.removeprefix("/console")
    assert "waits to begin 0 records read of 3" in visitor.see(operation).words
    twice = visitor.post(f"{path}/rebuild", action="compare")
    assert twice.status == 409
    assert "is being built again already" in twice.words
    assert visitor.post(operation).location == f"/console{operation}"
    parts = {"from": "2026-03-01T08:00", "to": "2026-03-01T07:00", "into": "active__march"}
    wrong = visitor.post(f"{path}/rebuild", action="compare", **parts)
    assert wrong.status == 400
    assert "to is a time later than from" in wrong.words
    assert wrong.field("into") == "active__march"
    assert (
        "--from 2026-03-01T08:00:00Z --to 2026-03-01T07:00:00Z --into active__march" in wrong.words
    )
    for into in ("other", "active", "active__replay", "active__a__b", "Active__x"):
        refused = visitor.post(f"{path}/rebuild", action="compare", into=into)
        assert refused.status == 400, into
        assert "a schema of your own that begins with active__" in refused.words
    kept = visitor.post(f"{path}/rebuild", action="compare", into="active__march")
    assert kept.status == 303
    visitor.post(kept.location.removeprefix("/console"))
    assert "stopped" in visitor.see(f"{path}/rebuild").words
    history = visitor.see(f"{path}/history")
    assert "beside mix (bigint), since field mix has values of both types" in history.words
    assert re.search(r"first in record \d+\.\d+", history.words)
    assert len(find_links(history, r"/loads/[\w-]+")) == 2
    loads = visitor.see(f"{path}/loads")
    assert loads.text.count('class="mark') == 2
    assert "2 attempts, 0 failed" in loads.words
    assert "It was not loaded on this day" in visitor.see(f"{path}/loads?day=2020-01-31").words
    assert "No attempt failed" in visitor.see(f"{path}/loads?failed=1").words
    assert "loading waits while this runs" in visitor.see(f"{path}/rows").words
    asked = visitor.get(f"/console{path}/rows?show=1")
    assert asked.status == 503  # there is no desk here
    assert visitor.post(path, action="load").location == f"/console{path}?done=load"
    assert visitor.post(path, action="retry").status == 400
    assert visitor.post(path, action="other").status == 400
    options = f"{path}/options"
    assert visitor.post(options, option="split_mode", value="none").status == 400
    assert visitor.post(options, option="key_change", value="append").status == 303
    assert "Take back" in visitor.see(options).words
    assert visitor.post(options, option="key_change", value="").status == 303
    assert "Take back" not in visitor.see(options).words
    assert "reserved suffix v__st 1 1" in visitor.see(f"{path}/rejected").words
    assert visitor.get(f"/console{path}x").status == 404
    viewer = house.sign_in(ConsoleRole.VIEWER)
    assert viewer.get(f"/console{path}/rows").status == 403
    assert viewer.get(f"/console{path}/waiting").status == 403
    assert "Load now" not in viewer.see(path).words


def test_new_loads_are_announced(visitor: Visitor, house: HouseConsole) -> None:
    house.push(rec(data={"id": 1}))
    page = visitor.see("/loads?changed=1")
    [news] = re.findall(r'data-follow="/console(/regions/loads[^"]*)"', page.text)
    news = news.replace("&amp;", "&")
    assert "new load" not in visitor.see(news).words
    house.push(rec(data={"id": 2, "more": 1}))
    house.push(rec(data={"id": 3}))
    assert "1 new load since this list was made" in visitor.see(news).words
    assert 'href="/console/loads?changed=1"' in visitor.see(news).text
    assert "No load fits this filter" in visitor.see("/loads?failed=1").words
    assert "customers" in visitor.see("/loads?span=1h").words
