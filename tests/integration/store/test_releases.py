"""The end of an upgrade: what the store refuses from then on, on both databases."""

from dataclasses import replace

import pytest
from sqlalchemy import text
from tests.integration.store.conftest import OpenStore

from treadle.errors import OperatorError
from treadle.store import store as store_module
from treadle.store.membership import ClusterMember
from treadle.store.releases import THIS_RELEASE, StoreForms, TreadleRelease, examine_upgrade
from treadle.store.store import Store
from treadle.store.trail_event import TrailAction

OLDER = replace(THIS_RELEASE, version="0.0.9", schema="0029")


def join(store: Store, name: str, release: TreadleRelease) -> ClusterMember:
    notes = release.notes
    member = ClusterMember(name, name, "worker 1", "ingest", "h", release.version, 1, notes)
    store.members.join(member)
    return member


def count_events(store: Store) -> int:
    return sum(one.action == TrailAction.FINISH_UPGRADE for one in store.trail.list_events(limit=9))


def test_an_upgrade_is_finished_when_no_live_member_is_older(store: Store) -> None:
    before = store.releases.get_forms()
    assert before == StoreForms(THIS_RELEASE.schema, THIS_RELEASE.least_schema, 1)
    older = join(store, "a", OLDER)
    join(store, "b", THIS_RELEASE)
    found = store.releases.finish_upgrade(THIS_RELEASE)
    assert [one.id for one in found.older] == ["a"]
    assert store.releases.get_forms() == before
    assert count_events(store) == 0

    store.members.leave(older.id)
    store.releases.finish_upgrade(THIS_RELEASE)
    after = store.releases.get_forms()
    assert after == StoreForms(THIS_RELEASE.schema, THIS_RELEASE.schema, THIS_RELEASE.form)
    assert store.releases.finish_upgrade(THIS_RELEASE).is_finished(THIS_RELEASE)
    assert count_events(store) == 1


def test_a_member_learns_with_its_beat_what_the_store_asks_for(store: Store) -> None:
    older = join(store, "a", OLDER)
    for beat in (store.members.beat, store.members.note_beat):
        answer = beat(older.id, OLDER.notes)
        assert answer is not None
        assert OLDER.find_refusal(answer.least_schema, answer.form) is None
        assert store.members.note_beat("nobody", {}) is None
    store.members.leave(older.id)
    store.releases.finish_upgrade(THIS_RELEASE)
    join(store, "a", OLDER)
    for beat in (store.members.beat, store.members.note_beat):
        answer = beat(older.id, OLDER.notes)
        assert answer is not None
        assert OLDER.find_refusal(answer.least_schema, answer.form) is not None


def test_a_treadle_that_cannot_read_the_entries_does_not_open_the_store(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    with store._database.engine.begin() as connection:
        connection.execute(text("UPDATE meta SET form = 2"))
    store.close()
    with pytest.raises(OperatorError, match="the upgrade to a newer treadle was finished"):
        open_store()
    monkeypatch.setattr(store_module, "THIS_RELEASE", replace(THIS_RELEASE, form=2))
    open_store().close()


def test_a_store_is_looked_at_before_its_first_migration(open_store: OpenStore) -> None:
    store = open_store()
    join(store, "a", THIS_RELEASE)
    url = store._database.engine.url.render_as_string(hide_password=False)
    newer = replace(THIS_RELEASE, version="9.0.0", schema="9999")
    found = examine_upgrade(url, newer)
    assert found is not None
    assert [one.id for one in found.older] == ["a"]
    assert found.forms.schema == THIS_RELEASE.schema
    store.close()
