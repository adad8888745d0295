"""`treadle apply` and `treadle export` on a real store."""

from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle

from treadle.config import Config
from treadle.server.factories import open_store
from treadle.server.startup import set_up_store

PASSWORD = "pa55word-of-the-lake"
HOOK = "https://hooks.example.com/T000/5ecret-path"
SIGNING = "signing-5ecret-of-16"

WANTED = """
[[account]]
name = "Shop"

[account.quotas]
sources = 50

[[account.destination]]
name = "Lake"
type = "postgres"
host = "127.0.0.1"
port = 5433
username = "loader"
password = "env:LAKE_PASSWORD"
database = "lake"
ssl = true

[[account.destination]]
name = "File"
url = "duckdb:///tmp/treadle-test-lake.duckdb"

[[account.source]]
name = "web"
display_name = "Web shop"
destination = "Lake"

[account.source.options]
split_mode = "widen"
"contract.columns" = "freeze"
max_nesting = 3

[account.source.tables.orders]
key_change = "append"

[account.source.webhook]
table = "events"
key = ["id"]
import_tokens = false

[account.source.quotas]
tables = 500

[[account.source]]
name = "old"
paused = true

[[account.hook]]
url = "env:HOOK_URL"
destination = "Lake"
secret = "env:HOOK_SECRET"
paused = true
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAKE_PASSWORD", PASSWORD)
    monkeypatch.setenv("HOOK_URL", HOOK)
    monkeypatch.setenv("HOOK_SECRET", SIGNING)
    path = tmp_path / "wanted.toml"
    path.write_text(WANTED)
    return path


def test_a_file_is_applied_once_and_exported_without_secrets(
    data: Path, treadle: Treadle, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    said = []
    shown = treadle("apply", str(file), "--dry-run")
    assert shown.code == 0
    assert "+ source web of Shop" in shown.out
    assert '    options.split_mode = "widen"' in shown.out
    assert "    password = (secret)" in shown.out
    assert not data.exists()
    asked = treadle("apply", str(file))
    assert (asked.code, "add --yes to make 6 changes" in asked.err) == (2, True)
    done = treadle("apply", str(file), "--yes")
    assert done.code == 0, done.err
    assert "Done: 6 changes." in done.out
    again = treadle("apply", str(file), "--yes")
    assert again.out == "Everything is as the file says; nothing changes.\n"
    exported = treadle("export")
    assert exported.code == 0
    said += [shown, asked, done, again, exported]
    file.write_text(exported.out)
    for name in ("LAKE_PASSWORD", "HOOK_URL", "HOOK_SECRET"):
        monkeypatch.delenv(name)
    assert treadle("apply", str(file), "--yes", "--json").json == {"changes": [], "applied": False}
    for one in said:
        for secret in (PASSWORD, HOOK, "5ecret-path", SIGNING):
            assert secret not in one.out + one.err
    with closing(open_store(Config(data=data))) as store:
        [account] = store.accounts.list_accounts()
        web, old = store.sources.list_sources()
        assert (web.name, web.display_name, web.paused_at) == ("web", "Web shop", None)
        assert old.paused_at is not None
        assert web.settings == {
            "options": {"split_mode": "widen", "contract.columns": "freeze", "max_nesting": 3},
            "tables": {"orders": {"key_change": "append"}},
            "webhook": {"table": "events", "key": ["id"], "import_tokens": False},
        }
        lake = store.destinations.find_destination_of_source(web.id)
        assert lake is not None
        assert lake.url == f"postgresql://loader:{PASSWORD}@127.0.0.1:5433/lake?sslmode=require"
        [hook] = store.hooks.list_hooks()
        assert (hook.url, hook.secret, hook.destination_id) == (HOOK, SIGNING, lake.id)
        assert hook.paused_at is not None
        quotas = store.quotas.list_overrides()
        assert (quotas.accounts, quotas.sources) == (
            {account.id: {"sources": 50}},
            {web.id: {"tables": 500}},
        )


def test_a_change_of_the_file_changes_that_alone(
    data: Path, treadle: Treadle, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert treadle("apply", str(file), "--yes").code == 0
    text = WANTED.replace("max_nesting = 3\n", "").replace("paused = true\n", "paused = false\n", 1)
    text = text.replace("port = 5433", "port = 5434").replace('display_name = "Web shop"\n', "")
    file.write_text(text)
    monkeypatch.setenv("LAKE_PASSWORD", "another-pa55word")
    done = treadle("apply", str(file), "--yes", "--json").json
    assert [(one["action"], one["item"]) for one in done["changes"]] == [
        ("change", "destination Lake of Shop"),
        ("change", "source web of Shop"),
        ("change", "source old of Shop"),
    ]
    lake, web, old = [one["values"] for one in done["changes"]]
    port = {"name": "port", "before": "5433", "after": "5434", "secret": False}
    assert port in lake
    assert {"name": "password", "before": None, "after": None, "secret": True} in lake
    nesting = {"name": "options.max_nesting", "before": 3, "after": None, "secret": False}
    assert web == [nesting]
    assert old == [{"name": "paused", "before": True, "after": False, "secret": False}]
    assert treadle("apply", str(file), "--yes", "--json").json["changes"] == []
    with closing(open_store(Config(data=data))) as store:
        web_now = store.sources.list_sources()[0]
        assert web_now.display_name == "Web shop"  # what the file does not name stays
        assert "max_nesting" not in web_now.settings["options"]
        urls = {row.name: row.url for row in store.destinations.list_destinations()}
        assert urls["Lake"].startswith("postgresql://loader:another-pa55word@127.0.0.1:5434/lake")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('split_mode = "widen"', 'split_mode = "wider"', "Source web of Shop: The option"),
        (
            'type = "postgres"',
            'type = "oracle"',
            "bigquery_v2, clickhouse, duckdb, iceberg, mysql_destination, postgres, redshift",
        ),
        ('database = "lake"\n', "", "missing, unknown or not valid: database"),
        ("tables = 500", 'tables = "many"', "the quota tables is to be a whole number"),
        ('name = "old"', 'name = "pg_catalog"', "its name cannot be a schema"),
        ('url = "env:HOOK_URL"', 'url = "ftp://x"', "its url cannot be used"),
        ("import_tokens = false", "imports = false", "webhook has no 'imports'"),
        ("paused = true", 'paused = "yes"', "is to be true or false"),
        ('"env:HOOK_SECRET"', '"short"', "its secret is to have 16 to 256"),
    ],
)
def test_what_cannot_be_applied_changes_nothing(
    data: Path, treadle: Treadle, file: Path, old: str, new: str, said: str
) -> None:
    file.write_text(WANTED.replace(old, new, 1))
    done = treadle("apply", str(file), "--yes")
    assert (done.code, said in done.err) == (2, True), done.err
    assert treadle("account create --name First").code == 0
    assert [one["name"] for one in treadle("account list --json").json] == ["First"]


def test_an_installation_as_the_server_makes_it_is_exported_and_unchanged(
    data: Path, treadle: Treadle, tmp_path: Path
) -> None:
    config = Config(data=data)
    config.make_data_folder()
    set_up_store(config)
    assert treadle("source create Web").code == 0
    exported = treadle("export").out
    assert "destination" not in exported  # that of the data folder is not somebody's
    path = tmp_path / "exported.toml"
    path.write_text(exported)
    assert treadle("apply", str(path), "--yes", "--json").json["changes"] == []
    # In another place the same accounts and sources are made.
    other = str(tmp_path / "other")
    assert treadle("apply", str(path), "--yes", "--data", other).code == 0
    [source] = treadle("source list --json --data", other).json
    assert source["name"] == "web"
