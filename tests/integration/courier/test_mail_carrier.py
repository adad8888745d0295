"""Mails about problems through a mail server, with a clock that is moved (connect-rest.md A.5)."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.loads import load
from tests.servers.mail import MailServer, TakenMail

from treadle.courier.mail_carrier import (
    GIVE_UP_US,
    IDLE_SECONDS,
    KEEP_US,
    LOOK_SECONDS,
    MailCarrier,
)
from treadle.courier.mail_relay import MailRelay
from treadle.courier.mail_text import MailStyle
from treadle.courier.notice_decisions import CALM_US
from treadle.errors import RetriableError
from treadle.log.protocol import NewEntry
from treadle.log.quota import LogQuota
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.smtp_url import SmtpServer
from treadle.store.model import ConfiguredDestination
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

START = 1_700_000_000_000_000
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DOWN = "We're having trouble writing to your data warehouse"
STOPPED = "We're unable to load some of your data"


@dataclass
class Courier:
    """A store with an account, a log, a mail server, and the carrier between them."""

    folder: Path
    server: MailServer
    now: int = START
    store: Store = field(init=False)
    carrier: MailCarrier = field(init=False)
    destination: ConfiguredDestination = field(init=False)
    source_id: int = 0
    account_id: int = 0

    def __post_init__(self) -> None:
        self.store = Store.open(
            f"sqlite:///{self.folder / 'store.sqlite'}",
            SecretCipher(bytes(32)),
            clock=lambda: self.now,
        )
        account, _ = self.store.accounts.create_account("first")
        source = self.store.sources.create_source(
            account.id, type="import_api", display_name="Shop", name="shop", bootstrap_token=False
        )
        self.account_id, self.source_id = account.id, source.id
        self.destination = self.store.destinations.set_default_destination(
            account.id, "duckdb", "duckdb:///x", "x"
        )
        with closing(SqliteReader(self.folder / "log.sqlite")) as reader:
            self.store.use_log(reader.log_id)
        self.store.recipients.add_recipient(account.id, "oncall@example.com")
        self.carrier = self.make_carrier()

    def make_carrier(self, **options: Any) -> MailCarrier:
        relay = MailRelay(
            SmtpServer("127.0.0.1", self.server.port, "none"),
            "treadle@example.org",
            self.store.installation_id,
            "here.test",
            timeout_seconds=10,
        )
        defaults: dict[str, Any] = {"relay": relay, "load_age_us": 1_000_000}
        return MailCarrier(
            self.store,
            lambda: SqliteReader(self.folder / "log.sqlite"),
            **(defaults | options),
        )

    def restart(self, **options: Any) -> None:
        """As the process does when it is started again."""
        self.carrier.close()
        self.carrier = self.make_carrier(**options)

    def move(self, microseconds: int, step: int = 10 * MINUTE_US) -> None:
        """Let time pass, and run the carrier each time it may."""
        end = self.now + microseconds
        while self.now < end:
            self.now = min(end, self.now + step)
            self.run()

    def run(self) -> None:
        while self.carrier.run_once(self.now) == 0.0:
            pass

    def accept(self, table: str = "orders") -> None:
        async def append() -> None:
            log = SqliteAppender(self.folder / "log.sqlite")
            await log.append([NewEntry(self.source_id, table, self.now, 5, b"x")])
            await log.aclose()

        asyncio.run(append())

    @property
    def subjects(self) -> list[str]:
        return [mail.subject for mail in self.server.taken]

    @property
    def last(self) -> TakenMail:
        return self.server.taken[-1]


@pytest.fixture
def courier(tmp_path: Path) -> Iterator[Courier]:
    with MailServer() as server:
        made = Courier(tmp_path, server)
        yield made
        made.carrier.close()
        made.store.close()


def go_down(courier: Courier, why: str = "connection refused", *, denied: bool = False) -> None:
    courier.store.destinations.set_trouble(courier.destination.id, why, denied=denied)


def come_back(courier: Courier) -> None:
    courier.store.destinations.set_trouble(courier.destination.id, None)


def test_a_destination_that_is_down_is_told_after_two_hours_and_when_it_is_back(
    courier: Courier,
) -> None:
    go_down(courier)
    courier.move(2 * HOUR_US - MINUTE_US)
    assert courier.subjects == []
    go_down(courier, "still down, with another text")
    courier.move(5 * HOUR_US)
    assert courier.subjects == [f"treadle - {DOWN}"]
    assert courier.last.recipients == ("oncall@example.com",)
    assert courier.last.sender == "treadle@example.org"
    assert "since 2023-11-14T22:13:20Z" in courier.last.text
    assert "still down, with another text" in courier.last.text
    come_back(courier)
    courier.move(HOUR_US)
    assert courier.subjects == [f"treadle - {DOWN}", f"treadle - {DOWN} - over"]
    courier.move(24 * HOUR_US, step=HOUR_US)
    assert len(courier.subjects) == 2


def test_what_ended_within_the_delay_is_never_told(courier: Courier) -> None:
    for _ in range(3):
        go_down(courier)
        courier.move(2 * HOUR_US - MINUTE_US)
        come_back(courier)
        courier.move(HOUR_US)
    assert courier.subjects == []
    assert courier.store.notices.list_open_notices() == []


def test_a_missing_right_is_told_at_once(courier: Courier) -> None:
    go_down(courier, "ERROR: permission denied for schema shop", denied=True)
    courier.run()
    assert courier.subjects == ["treadle - Data Warehouse Error"]
    assert "permission denied for schema shop" in courier.last.text
    assert "Level: critical" in courier.last.text


def test_texts_of_databases_are_left_out_by_a_setting(courier: Courier) -> None:
    courier.restart(style=MailStyle("[x] ", plain_errors=False))
    go_down(courier, "ERROR: permission denied for schema shop", denied=True)
    courier.run()
    assert courier.subjects == ["[x] Data Warehouse Error"]
    assert "permission denied" not in courier.last.text


def test_a_stopped_table_is_told_after_two_hours(courier: Courier) -> None:
    stopped = load(courier.source_id, "orders", 1, courier.now, error="key types differ")
    courier.store.loads.record_failure(stopped, stopped=True)
    courier.move(2 * HOUR_US - MINUTE_US)
    assert courier.subjects == []
    courier.move(MINUTE_US)
    assert courier.subjects == [f"treadle - {STOPPED}"]
    assert "- orders of shop, since" in courier.last.text
    courier.store.loads.record_load(load(courier.source_id, "orders", 1, courier.now), ())
    courier.move(HOUR_US)
    assert courier.subjects == [f"treadle - {STOPPED}", f"treadle - {STOPPED} - over"]


def test_rejected_records_are_told_once_until_a_day_without_any(courier: Courier) -> None:
    def reject(position: int) -> None:
        courier.store.loads.record_load(
            load(courier.source_id, "orders", position, courier.now, rows_rejected=1), ()
        )

    reject(1)
    courier.move(HOUR_US)
    courier.restart()
    courier.move(HOUR_US)
    assert courier.subjects == [f"treadle - {STOPPED}"]
    assert "are rejected" in courier.last.text
    for position in range(2, 12):
        courier.move(12 * HOUR_US, step=HOUR_US)
        reject(position)
        courier.run()
    assert len(courier.subjects) == 1
    courier.move(25 * HOUR_US, step=HOUR_US)
    assert courier.subjects == [f"treadle - {STOPPED}", f"treadle - {STOPPED} - over"]


def test_damaged_entries_are_told_at_once(courier: Courier) -> None:
    courier.store.loads.record_load(
        load(
            courier.source_id,
            "orders",
            1,
            courier.now,
            rows_rejected=5,
            details={"damaged_entries": 1},
        ),
        (),
    )
    courier.move(3 * HOUR_US)
    assert courier.subjects == ["treadle - Damaged entries were left out"]
    assert "orders of shop" in courier.last.text


def test_records_that_wait_for_no_reason_are_told_after_three_hours(courier: Courier) -> None:
    courier.accept()
    courier.move(3 * HOUR_US)
    assert courier.subjects == []
    courier.move(10 * MINUTE_US)
    assert courier.subjects == ["treadle - Data delays"]
    assert "- shop, since" in courier.last.text
    assert "Level: delay" in courier.last.text
    courier.store.loads.record_load(load(courier.source_id, "orders", 1, courier.now), ())
    courier.move(HOUR_US)
    assert courier.subjects == ["treadle - Data delays", "treadle - Data delays - over"]


def test_records_that_wait_by_the_settings_are_not_late(courier: Courier) -> None:
    courier.restart(load_age_us=6 * HOUR_US)
    courier.accept()
    courier.move(9 * HOUR_US - MINUTE_US)
    assert courier.subjects == []


def test_records_that_wait_for_a_known_reason_are_not_told_twice(courier: Courier) -> None:
    go_down(courier)
    courier.accept()
    courier.move(5 * HOUR_US)
    assert courier.subjects == [f"treadle - {DOWN}"]


def test_a_log_that_is_nearly_full_is_told_without_figures(courier: Courier) -> None:
    courier.restart(quota=LogQuota(disk_reserve_bytes=10**18))
    courier.run()
    assert courier.subjects == ["treadle - The log is nearly full"]
    assert "0000" not in courier.last.text
    courier.restart(quota=LogQuota())
    courier.move(HOUR_US)
    assert courier.subjects[1:] == ["treadle - The log is nearly full - over"]


def test_a_mail_server_that_is_down_gets_the_mails_when_it_is_back(courier: Courier) -> None:
    courier.server.stop()
    go_down(courier, denied=True)
    courier.move(5 * HOUR_US)
    come_back(courier)
    courier.move(HOUR_US)
    waiting, failed, why = courier.store.notices.find_mail_counts()
    assert (waiting, failed) == (2, 0)
    assert "refused" in str(why)
    courier.restart()
    courier.server.start()
    courier.move(HOUR_US)
    assert courier.subjects == [
        "treadle - Data Warehouse Error",
        "treadle - Data Warehouse Error - over",
    ]
    courier.move(5 * HOUR_US)
    assert len(courier.subjects) == 2
    assert courier.store.notices.find_mail_counts() == (0, 0, None)


def test_mails_that_cannot_be_sent_for_days_are_given_up(courier: Courier) -> None:
    courier.server.stop()
    go_down(courier, denied=True)
    courier.move(GIVE_UP_US + 2 * HOUR_US, step=30 * MINUTE_US)
    waiting, failed, _ = courier.store.notices.find_mail_counts()
    assert (waiting, failed) == (0, 1)
    courier.server.start()
    courier.move(HOUR_US)
    assert courier.subjects == []


def test_a_refused_address_is_given_up_and_others_get_their_mail(courier: Courier) -> None:
    courier.store.recipients.add_recipient(courier.account_id, "second@example.com")
    courier.server.refusals["oncall@example.com"] = "550 no such user"
    go_down(courier, denied=True)
    courier.run()
    assert [mail.recipients for mail in courier.server.taken] == [("second@example.com",)]
    assert courier.store.notices.find_mail_counts() == (0, 1, "550 no such user")
    assert courier.server.connections == 1


def test_an_address_that_is_refused_for_now_is_tried_again(courier: Courier) -> None:
    courier.server.refusals["oncall@example.com"] = "450 later"
    go_down(courier, denied=True)
    courier.run()
    assert courier.store.notices.find_mail_counts() == (1, 0, "450 later")
    del courier.server.refusals["oncall@example.com"]
    courier.move(HOUR_US)
    assert courier.subjects == ["treadle - Data Warehouse Error"]


def test_the_same_mail_sent_again_has_the_same_message_id(courier: Courier) -> None:
    """When the store fails behind the mail server, a mail is sent twice, and can be told."""

    def fail(*_: object) -> None:
        raise RetriableError("the disk is full")

    go_down(courier, denied=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courier.store.notices, "record_sent", fail)
        assert courier.carrier.run_once(courier.now) > 0
    courier.move(HOUR_US)
    assert len(courier.server.taken) == 2
    assert len({mail.message["Message-ID"] for mail in courier.server.taken}) == 1
    assert len({mail.raw for mail in courier.server.taken}) == 1


def test_a_disabled_address_gets_nothing_not_even_what_waits(courier: Courier) -> None:
    courier.server.stop()
    go_down(courier, denied=True)
    courier.run()
    courier.store.recipients.set_disabled(courier.account_id, 1, courier.now)
    courier.server.start()
    courier.move(HOUR_US)
    assert courier.subjects == []
    courier.store.recipients.set_disabled(courier.account_id, 1, None)
    come_back(courier)
    courier.move(HOUR_US)
    assert courier.subjects == ["treadle - Data Warehouse Error - over"]


def test_an_account_is_told_of_its_own_problems_only(courier: Courier) -> None:
    other, _ = courier.store.accounts.create_account("second")
    courier.store.recipients.add_recipient(other.id, "other@example.com")
    go_down(courier, denied=True)
    courier.move(HOUR_US)
    assert [mail.recipients for mail in courier.server.taken] == [("oncall@example.com",)]


def test_without_a_mail_server_nothing_is_decided(courier: Courier) -> None:
    courier.restart(relay=None)
    go_down(courier, denied=True)
    assert courier.carrier.run_once(courier.now) == IDLE_SECONDS
    assert courier.store.notices.list_open_notices() == []
    courier.restart()
    courier.run()
    assert courier.subjects == ["treadle - Data Warehouse Error"]


def test_nothing_is_told_twice_by_carriers_that_start_again_and_again(courier: Courier) -> None:
    go_down(courier)
    for _ in range(30):
        courier.move(10 * MINUTE_US)
        courier.restart()
    come_back(courier)
    for _ in range(30):
        courier.move(5 * MINUTE_US)
        courier.restart()
    assert courier.subjects == [f"treadle - {DOWN}", f"treadle - {DOWN} - over"]


def test_a_log_that_cannot_be_read_ends_no_problem(courier: Courier) -> None:
    go_down(courier, denied=True)
    courier.run()
    come_back(courier)

    def fail() -> SqliteReader:
        raise RetriableError("the disk failed")

    courier.carrier.close()
    courier.carrier.open_reader = fail
    courier.move(HOUR_US)
    assert len(courier.subjects) == 1
    courier.restart()
    courier.move(HOUR_US)
    assert len(courier.subjects) == 2


def test_old_notices_and_mails_are_deleted(courier: Courier) -> None:
    go_down(courier, denied=True)
    courier.run()
    come_back(courier)
    courier.move(HOUR_US)
    assert courier.store.notices.delete_notices_before(courier.now - KEEP_US) == 0
    assert courier.store.notices.delete_notices_before(courier.now + 1) == 3


def test_many_mails_go_by_one_connection(courier: Courier) -> None:
    for number in range(9):
        courier.store.recipients.add_recipient(courier.account_id, f"a{number}@example.com")
    go_down(courier, denied=True)
    courier.run()
    assert len(courier.server.taken) == 10
    assert {len(mail.recipients) for mail in courier.server.taken} == {1}
    assert courier.server.connections == 1


@pytest.mark.parametrize("prepare", [lambda courier: None, lambda courier: go_down(courier)])
def test_a_run_says_when_it_wants_to_run_again(
    courier: Courier, prepare: Callable[[Courier], None]
) -> None:
    prepare(courier)
    assert courier.carrier.run_once(courier.now) == LOOK_SECONDS
    assert courier.carrier.run_once(courier.now + 20_000_000) == LOOK_SECONDS - 20
    assert CALM_US > LOOK_SECONDS * 1e6
