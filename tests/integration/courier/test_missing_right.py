"""From a right that PostgreSQL revokes, through the loader and the store, to a mail and its end."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import psycopg
from tests.integration.loader.test_units import Stage
from tests.servers.mail import MailServer
from tests.servers.role import ordinary_user

from treadle.config import Config
from treadle.courier.notice_decisions import CALM_US
from treadle.server.mail_carriers import make_mail_carrier


def test_a_revoked_right_is_told_at_once_and_when_it_is_granted_again(
    tmp_path: Path, postgres_database: str
) -> None:
    with ordinary_user(postgres_database) as url, MailServer() as server:
        stage = Stage(tmp_path, url)
        loader = stage.loader("a")
        [account] = stage.store.accounts.list_accounts()
        stage.store.recipients.add_recipient(account.id, "oncall@example.com")
        config = Config(
            data=tmp_path,
            smtp_url=f"smtp://127.0.0.1:{server.port}",
            mail_from="treadle@example.org",
            mail_subject_prefix="[shop] ",
            disk_reserve_bytes=0,
        )
        carrier = make_mail_carrier(config, stage.store)
        with closing(stage.store), closing(loader), closing(carrier):
            asyncio.run(stage.append(1))
            loader.load_once()
            carrier.run_once(stage.clock.now)
            assert server.taken == []
            with psycopg.connect(postgres_database, autocommit=True) as admin:
                role = url.partition("//")[2].partition(":")[0]
                admin.execute(b'ALTER TABLE "web"."events" OWNER TO CURRENT_USER')
                asyncio.run(stage.append(2))
                stage.clock.now += 60_000_000
                loader.load_once()
                carrier.run_once(stage.clock.now)
                [told] = server.taken
                assert told.subject == "[shop] Data Warehouse Error"
                assert told.recipients == ("oncall@example.com",)
                assert "- tables of web, since" in told.text
                assert "permission denied" in told.text or "must be owner" in told.text
                admin.execute(f'ALTER TABLE "web"."events" OWNER TO "{role}"'.encode())
            stage.clock.now += 3_600_000_000
            loader.load_once()
            assert sorted(stage.entries()) == [1] * 5 + [2] * 5
            carrier.run_once(stage.clock.now)
            stage.clock.now += CALM_US
            carrier.run_once(stage.clock.now)
            subjects = [mail.subject for mail in server.taken]
            assert subjects == ["[shop] Data Warehouse Error", "[shop] Data Warehouse Error - over"]


def test_the_sender_is_the_setting_or_the_user_of_the_mail_server(tmp_path: Path) -> None:
    stage = Stage(tmp_path, f"duckdb://{tmp_path / 'warehouse.duckdb'}")
    url = "smtps://me%40example.com:pa55word@mail.example.com"
    with closing(stage.store):
        for config, sender in (
            (Config(data=tmp_path, smtp_url=url, mail_from="a@b.c"), "a@b.c"),
            (Config(data=tmp_path, smtp_url=url), "me@example.com"),
            (Config(data=tmp_path, smtp_url="smtp://relay"), f"treadle@{socket.gethostname()}"),
        ):
            relay = make_mail_carrier(config, stage.store).relay
            assert relay is not None
            assert relay.sender == sender
            assert "pa55word" not in relay.identity + repr(relay)
        assert make_mail_carrier(Config(data=tmp_path), stage.store).relay is None
