"""The pages about requests over a real log and real traces."""

import asyncio
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration.console.test_pages import EVIL, make_source
from tests.integration.console.visitor import Console, Visitor
from tests.loads import load

from treadle.cli.main import build_parser
from treadle.console.app import ConsoleApp
from treadle.console.figures import FigureSampler
from treadle.console.page_reach import PageReach
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.store.model import ConsoleRole, EntryOutcome, RecordRejection
from treadle.traces.refusal_file import RefusalFile
from treadle.traces.refusals import KeptRefusal, RefusalGroup

BYTES_MAX = 60_000
"""Of a page (console.md B.8)."""


class BusyConsole(Console):
    """A console whose log and traces the test writes as a worker would."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.log = folder / "log.sqlite"
        assert self.services.traces is not None
        self.refusals = self.services.traces.refusals
        self.append(0)
        reader = SqliteReader(self.log)
        self.store.use_log(reader.log_id)
        reader.close()
        self.sampler.close()
        self.sampler = FigureSampler(
            self.store, self.open_reader, lambda: self.now, lambda: self.now / 1_000_000
        )
        self.change(reach=PageReach(open_reader=self.open_reader))

    def open_reader(self) -> SqliteReader:
        return SqliteReader(self.log)

    def change(self, **services: Any) -> None:
        more = {"sampler": self.sampler, **services}
        self.services = replace(self.services, **more)
        self.app = ConsoleApp(self.services)

    def append(self, source_id: int, *requests: dict[str, list[Any]]) -> None:
        """Append requests: table -> records; a microsecond lies between two of them."""

        async def store() -> None:
            log = SqliteAppender(self.log)
            for tables in requests:
                self.now += 1
                await log.append(
                    [make_entry(source_id, table, self.now, rows) for table, rows in tables.items()]
                )
            await log.aclose()

        asyncio.run(store())

    def refuse(
        self, status: int = 401, reason: str = "Not Authorized", body: str = "{}", **more: Any
    ) -> str:
        """Keep a refusal; return its id."""
        names = {"account_id", "source_id", "token_id"}
        known = {name: more.pop(name) for name in names & more.keys()}
        group = RefusalGroup(more.pop("endpoint", "push"), status, reason, **known)
        file = RefusalFile(self.refusals, "worker 1")
        self.now += 1
        number = file.add(
            KeptRefusal(
                more.pop("at", self.now), group, more.pop("fingerprint", "ab12cd34"),
                more.pop("address", "192.0.2.7"), 12, body,
            )
        )  # fmt: skip
        file.close()
        return f"1-{number}"


def make_entry(source_id: int, table: str, at: int, rows: list[Any]) -> NewEntry:
    data = msgspec.json.encode(rows)
    sequences = list(range(len(rows)))
    batch = MessageBatch(table, (), "json", b"", (), sequences, 0, None, [], data)
    return NewEntry(source_id, table, at, len(rows), encode_batch(batch))


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[BusyConsole]:
    made = BusyConsole(tmp_path)
    made.store.sessions.leave_guide(made.account.id)
    yield made
    made.close()


@pytest.fixture
def seen(busy: BusyConsole) -> Visitor:
    return busy.sign_in()


def list_lines(text: str) -> list[list[str]]:
    """The cells of each line of the tail but the first, which is the time."""
    body = text.partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>")[:-1]]
    return [[re.sub(r"<[^>]+>|[●◐▲■○]", "", cell).strip() for cell in row[1:]] for row in cells]


def test_nothing_arrived_and_what_could_be_wrong(busy: BusyConsole, seen: Visitor) -> None:
    page = seen.see("/requests")
    assert "Nothing arrived in the last hour." in page.words
    assert "The server listens at 127.0.0.1" in page.words
    narrow = seen.see("/requests?state=refused")
    assert "No request of the last hour fits." in narrow.words
    assert "127.0.0.1, so" not in narrow.words
    assert "No refused request is known" in seen.see("/requests/refused").words
    for path in ("/requests/rc_wrong", "/requests/1-99", "/requests/odd"):
        page = seen.get(f"/console{path}")
        assert page.status == 404, path
    assert seen.get("/console/requests?before=odd").status == 400


def test_accepted_and_refused_ones_are_in_one_list(busy: BusyConsole, seen: Visitor) -> None:
    source = make_source(busy)
    token = busy.store.tokens.create_token(busy.account.id, source.id)
    busy.append(source.id, {"orders": [{"id": 1}], "lines": [{"id": 1}, {"id": 2}]})
    refused = busy.refuse(
        403, "Forbidden", account_id=busy.account.id, source_id=source.id, token_id=token.id
    )
    busy.append(source.id, {"orders": [{"id": 2}, {"id": 3}]})
    report = replace(load(source.id, "orders", 3, busy.now + 1_500_000), first=1)
    outcome = EntryOutcome(3, source.id, "orders", 0, (RecordRejection(0, "why"),))
    busy.store.loads.record_load(report, [outcome])
    page = seen.see("/requests")
    assert list_lines(page.text) == [
        ["1 rejected", "201", "", "shop", "orders", "2", page_bytes(page.text, 0), "", "", "1.5 s"],
        ["refused", "403", "push", "shop", "", "", "12 B", f"{token.id} ...{token.last_four}",
         "192.0.2.7", ""],
        ["waiting", "201", "", "shop", "orders and 1 more", "3", page_bytes(page.text, 2), "", "",
         ""],
    ]  # fmt: skip
    assert f'href="/console/requests/{refused}"' in page.text
    assert re.search(r'data-topics="[^"]*,requests"', page.text)

    for query, count in (
        (f"source={source.id}", 3), ("source=99", 0), ("table=lines", 1), ("status=403", 1),
        ("state=waiting", 1), (f"token={token.id}", 1), ("from=192.0.2.7", 1), ("from=::1", 0),
        ("status=201&state=loaded", 1), ("status=odd", 3),
    ):  # fmt: skip
        shown = seen.see(f"/requests?{query}")
        assert len(list_lines(shown.text)) == count, query
    assert "accepted ones are left out" in seen.see("/requests?token=1").words
    topics = re.findall(r'data-topics="([^"]*)"', seen.see("/requests?table=a%2Cb").text)
    assert topics[0].split(",")[-1] == "requests%3Ftable%3Da%252Cb"

    answer = seen.get("/console/regions?topics=requests%3Fstate%3Drefused,refused,nothing")
    regions = msgspec.json.decode(answer.text)["regions"]
    assert set(regions) == {"requests?state=refused", "refused"}
    assert len(list_lines(regions["requests?state=refused"])) == 1

    busy.now += 2 * 3_600_000_000
    seen = busy.sign_in()  # the session has ended by then
    assert "Nothing arrived in the last hour" in seen.see("/requests").words
    assert len(list_lines(seen.see("/requests?time=day").text)) == 3


def page_bytes(text: str, line: int) -> str:
    """The size that a line shows, which depends on how batches are encoded."""
    size = list_lines(text)[line][6]
    assert re.fullmatch(r"\d+ B", size)
    return size


def test_older_ones_are_on_further_pages_and_pages_are_small(
    busy: BusyConsole, seen: Visitor
) -> None:
    source = make_source(busy)
    for _ in range(30):
        busy.refuse(429, "x" * 100, account_id=busy.account.id, source_id=source.id)
    busy.append(source.id, *({"orders" * 20: [{"id": number}]} for number in range(150)))
    page = seen.see("/requests")
    assert len(list_lines(page.text)) == 100
    assert len(page.text.encode()) < BYTES_MAX
    [older] = re.findall(r'href="/console(/requests\?[^"]*before[^"]*)"', page.text)
    further = seen.see(older.replace("&amp;", "&"))
    assert len(list_lines(further.text)) == 80
    assert not re.search(r'data-topics="[^"]*requests', further.text)
    assert "Back to the newest" in further.words


def test_refused_ones_are_grouped_and_counted(busy: BusyConsole, seen: Visitor) -> None:
    source = make_source(busy)
    own: dict[str, Any] = {"account_id": busy.account.id, "source_id": source.id, "token_id": 7}
    busy.refuse(400, "Malformed", '{"error":"first"}', at=busy.now - 3_600_000_000 * 2, **own)
    for number in range(3):
        busy.refuse(400, "Malformed", f'{{"error":"number {number}"}}', **own)
    last = busy.refuse(401, "Not Authorized", '{"message":"no"}')
    page = seen.see("/requests/refused")
    assert re.findall(r"<h2 [^>]*-name\">(.*?)</h2>", page.text) == [
        "401 Not Authorized", "400 Malformed",
    ]  # fmt: skip
    assert "4 in all , 3 in the last hour" in page.words
    assert "number 2" in page.words
    assert "number 1" not in page.words
    assert page.text.count('<svg class="bars"') == 2
    assert "3 in all, at most 3 in a minute" in page.text
    assert f"/console/requests/{last}" in page.text
    assert "shop" in page.words
    only = seen.see("/requests/refused?status=400")
    assert only.text.count('<svg class="bars"') == 1
    assert (
        "treadle requests --refused --source shop --data here"
        in seen.see(f"/requests/refused?source={source.id}").words
    )
    for number in range(30):
        busy.refuse(422, f"kind {chr(97 + number)}", "x" * 500)
    page = seen.see("/requests/refused")
    assert page.text.count('<svg class="bars"') == 12
    assert "skip=12" in page.text
    assert len(page.text.encode()) < BYTES_MAX
    assert seen.see("/requests/refused?skip=24").text.count('<svg class="bars"') == 8

    viewer = busy.sign_in(ConsoleRole.VIEWER)
    for path in ("/requests/refused?status=400", "/regions?topics=refused%3Fstatus%3D400"):
        assert "number 2" in seen.see(path).words
        assert "number 2" not in viewer.see(path).words
        assert "Malformed" not in viewer.see(path).words
    assert '{"message":"no"}' not in viewer.see(f"/requests/{last}").words

    one = seen.see(f"/requests/{last}")
    assert '{"message":"no"}' in one.words
    assert "No token of this server is like the one that was sent" in one.words
    assert "unknown, digest ab12cd34" in one.words


def test_one_request_has_its_tables_its_time_line_and_records(
    busy: BusyConsole, seen: Visitor
) -> None:
    source = make_source(busy)
    rows: list[Any] = [{"id": number, "name": "Ann"} for number in range(25)]
    busy.append(source.id, {"orders": rows, "lines": [{"id": 1, "text": "y" * 5_000}]})
    [receipt] = re.findall(r"/console/requests/(rc_[\w-]+)", seen.see("/requests").text)
    page = seen.see(f"/requests/{receipt}")
    assert "loaded not yet" in page.words
    assert "Refresh" in page.words
    assert f"/v1/receipts/{receipt}" in page.text
    assert page.words.count("sequence") == 20
    assert '{"id":0,"name":"Ann"}' in page.words
    assert "And 6 more." in page.words
    for table, position in (("orders", 1), ("lines", 2)):
        busy.store.loads.record_load(load(source.id, table, position, busy.now + 2_000_000), [])
    page = seen.see(f"/requests/{receipt}")
    assert "2.0 s after it was received" in page.words
    assert page.text.count("/console/loads/") == 2
    assert len(page.text.encode()) < BYTES_MAX

    viewer = busy.sign_in(ConsoleRole.VIEWER)
    hidden = viewer.see(f"/requests/{receipt}")
    assert '"Ann"' not in hidden.words
    assert "shown to operators and admins" in hidden.words
    busy.change(payloads="all")
    assert '"Ann"' in viewer.see(f"/requests/{receipt}").words
    busy.change(payloads="off")
    assert '"Ann"' not in seen.see(f"/requests/{receipt}").words


def test_of_a_request_with_many_tables_the_first_are_shown(
    busy: BusyConsole, seen: Visitor
) -> None:
    source = make_source(busy)
    busy.append(source.id, {f"table_{number}": [{"id": 1}] for number in range(120)})
    [receipt] = re.findall(r"/console/requests/(rc_[\w-]+)", seen.see("/requests").text)
    page = seen.see(f"/requests/{receipt}")
    assert page.text.count('<th scope="row" class="name">') == 50
    assert "And 70 more." in page.words
    assert "120 records" in page.words
    assert len(page.text.encode()) < BYTES_MAX


def test_hostile_names_and_answers_are_text(busy: BusyConsole, seen: Visitor) -> None:
    source = make_source(busy, display_name=EVIL.replace("\0", "").replace("\ud800", ""))
    name = EVIL.replace("\ud800", "")
    busy.append(source.id, {name: [{"id": 1, name: name}]})
    refused = busy.refuse(
        400, name[:90], name, account_id=busy.account.id, source_id=source.id, address="<b>"
    )
    receipt = re.findall(r"/console/requests/(rc_[\w-]+)", seen.see("/requests").text)[0]
    for path in ("/requests", "/requests/refused", f"/requests/{refused}", f"/requests/{receipt}"):
        text = seen.see(path).text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "\u202e" not in text
        assert "<b>" not in text.partition("<main")[2]


def test_the_guide_shows_the_latest_refusal_and_what_to_change(busy: BusyConsole) -> None:
    source = make_source(busy)
    token = busy.store.tokens.create_token(busy.account.id, source.id)
    seen = busy.sign_in()
    busy.refuse(endpoint="control")
    assert "Waiting for a record." in seen.see("/start").words
    busy.refuse(body='{"message":"Not Authorized"}')
    page = seen.see("/start")
    assert "401 Not Authorized" in page.words
    assert "No token of this server is like the one that was sent" in page.words
    busy.refuse(
        400, "An array of records is expected", account_id=busy.account.id, source_id=source.id,
        token_id=token.id,
    )  # fmt: skip
    page = seen.see("/start")
    assert "400 An array of records is expected" in page.words
    assert "A push is a JSON array of records" in page.words
    assert "Not Authorized" not in page.words
    busy.now += 61_000_000
    assert "Nothing has arrived for a minute" not in seen.see("/start").words
    busy.append(source.id, {"customers": [{"id": 1}]})
    busy.now += 2_000_000
    page = seen.see("/start")
    assert "The server has accepted 1 record" in page.words
    assert "An array of records" not in page.words


class OneRowDesk:
    """A desk that knows one row, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def make_call(self, question: Any) -> "OneRowDesk":
        self.asked.append(question.order.table)
        return self

    def ask(self) -> "OneRowDesk":
        return self

    def read_value(self) -> Any:
        names = [{"name": "_sdc_sequence"}, {"name": "id"}, {"name": "note"}]
        return {"columns": names, "rows": [[7, 1, EVIL.replace("\ud800", "")]]}


def test_the_guide_asks_the_desk_once_for_the_first_row(busy: BusyConsole) -> None:
    source = make_source(busy)
    desk = OneRowDesk()
    busy.change(reach=PageReach(open_reader=busy.open_reader, desk=desk))  # type: ignore[arg-type]
    busy.append(source.id, {"customers": [{"id": 1}]})
    busy.store.loads.record_load(load(source.id, "customers", 1, busy.now), [])
    seen = busy.sign_in()
    for _ in range(2):
        page = seen.see("/start")
        row = page.text.partition('id="first-row"')[2].partition("</table>")[0]
        assert re.findall(r'<th scope="col">(.*?)</th>', row) == ["id", "note", "_sdc_sequence"]
        assert "<td>1</td>" in row
        assert "<script>" not in row
        assert "select * from shop.customers" in page.words
    assert desk.asked == ["customers"]
    busy.change(payloads="off")
    page = seen.see("/start")
    assert "first-row" not in page.text
    assert "console_payloads is off" in page.words


def test_each_page_names_a_command_that_there_is(busy: BusyConsole, seen: Visitor) -> None:
    source = make_source(busy)
    refused = busy.refuse()
    busy.append(source.id, {"orders": [{"id": 1}]})
    [receipt] = re.findall(r"/console/requests/(rc_[\w-]+)", seen.see("/requests").text)
    _, leaves = build_parser()
    for path in (
        "/requests", f"/requests?source={source.id}&table=a%20b", "/requests/refused",
        f"/requests/refused?source={source.id}", f"/requests/{receipt}", f"/requests/{refused}",
    ):  # fmt: skip
        found = re.search(r'<code id="same-command">(.*?)</code>', seen.see(path).text)
        assert found, path
        words = shlex.split(unescape(found[1]))
        assert words[:2] == ["treadle", "requests"]
        leaves[("requests",)].parse_args(words[2:])


def test_several_accounts_see_no_strangers(busy: BusyConsole, seen: Visitor) -> None:
    stranger = busy.refuse()
    assert "192.0.2.7" in seen.see("/requests").words
    busy.store.accounts.create_account("second")
    assert "192.0.2.7" not in seen.see("/requests").words
    assert "No refused request is known" in seen.see("/requests/refused").words
    assert seen.get(f"/console/requests/{stranger}").status == 404
