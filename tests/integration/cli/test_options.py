"""`treadle source options` keeps options where the loader reads them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle
from tests.loads import load

from treadle.cli.options import describe_touched
from treadle.store.key_files import load_cipher
from treadle.store.store import Store


@pytest.fixture
def store(data: Path, treadle: Treadle) -> Iterator[Store]:
    assert treadle("account create").code == 0
    assert treadle("source create Web").code == 0
    opened = Store.open(f"sqlite:///{data}/store.sqlite", load_cipher(data / "secret.key"))
    with closing(opened):
        yield opened


def test_options_are_set_printed_and_taken_back(store: Store, treadle: Treadle) -> None:
    source = store.sources.list_sources()[0].id
    found = treadle("source options web stale_children=keep hard_delete=true --json").json
    assert (found["stale_children"], found["hard_delete"]) == ("keep", True)
    assert store.sources.get_settings(source) == {
        "options": {"stale_children": "keep", "hard_delete": True}
    }

    found = treadle("source options web --table t contract.columns=freeze --json").json
    assert found["contract.columns"] == "freeze"
    assert treadle("source options web --json").json["contract.columns"] == "evolve"

    done = treadle("source options web --table t")
    rows = {line.split()[0]: line.split() for line in done.out.splitlines()[1:]}
    assert rows["contract.columns"][1:3] == ["freeze", "table"]
    assert rows["hard_delete"][1:3] == ["true", "source"]
    assert rows["max_nesting"][1:3] == ["none", "none,"]

    assert treadle("source options web hard_delete= stale_children=").code == 0
    assert store.sources.get_settings(source) == {
        "options": {},
        "tables": {"t": {"contract.columns": "freeze"}},
    }


def test_a_change_says_which_tables_it_touches(store: Store, treadle: Treadle) -> None:
    source = store.sources.list_sources()[0].id
    done = treadle("source options web nested=json")
    assert done.out.splitlines()[-1] == "No table is loaded differently by that."
    for last, table in enumerate(("a", "b\n"), start=1):
        store.loads.record_load(load(source, table, last), [])
    done = treadle("source options web nested=flatten")
    assert done.out.splitlines()[-1] == "Loaded so from now on: a, b\\n"
    many = [str(n) for n in range(30)]
    assert describe_touched(many).endswith("18, 19, and 10 other tables")


def test_a_table_may_be_named_like_anything(store: Store, treadle: Treadle) -> None:
    assert treadle("source options web --table", "a b.c", "nested=json").code == 0
    assert store.sources.get_settings(store.sources.list_sources()[0].id) == {
        "tables": {"a b.c": {"nested": "json"}}
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("stale_childs=keep", "treadle: There is no option 'stale_childs'; did you mean stale_chi"),
        ("stale_children=kept", "it is delete or keep; did you mean keep?"),
        ("nested", "treadle: Expected NAME=VALUE, found 'nested'; NAME= takes an option back."),
        ("max_nesting=many", "it is none or a whole number from 0."),
        ("nothing=", "treadle: There is no option 'nothing'; "),
    ],
)
def test_what_is_no_option_changes_nothing(
    words: str, said: str, store: Store, treadle: Treadle
) -> None:
    done = treadle(f"source options web nested=json {words}")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert store.sources.get_settings(store.sources.list_sources()[0].id) == {}


def test_a_setting_that_is_none_is_named_when_it_is_printed(store: Store, treadle: Treadle) -> None:
    store.sources.update_source(
        None, store.sources.list_sources()[0].id, settings={"options": {"nested": "jsn"}}
    )
    done = treadle("source options web")
    assert done.code == 2
    assert "The option nested cannot be jsn" in done.err
    assert treadle("source options web nested=json").code == 0
