"""Declarations: read, written, and compared with what is there."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import OperatorError
from treadle.maintenance.declaration.document import parse_declaration, render_declaration
from treadle.maintenance.declaration.model import (
    Declaration,
    DeclaredAccount,
    DeclaredDestination,
    DeclaredHook,
    DeclaredSource,
    SecretText,
)
from treadle.maintenance.declaration.plan import (
    ValueChange,
    has_own_name,
    name_destination,
    plan_changes,
)

WHOLE = """
[[account]]
name = "Shop"

[account.quotas]
sources = 50

[[account.destination]]
name = "Lake"
type = "postgres"
host = "db"
port = 5433
username = "loader"
password = "env:LAKE_PASSWORD"
database = "lake"
ssl = true

[[account.source]]
name = "web"
display_name = "Web"
paused = false
destination = "Lake"

[account.source.options]
split_mode = "widen"
contract.columns = "freeze"

[account.source.tables."order lines"]
key_change = "append"

[account.source.webhook]
table = "events"
key = ["id"]

[account.source.quotas]
tables = 500

[[account.hook]]
url = "env:HOOK_URL"
destination = "Lake"
secret = "env:HOOK_SECRET"
"""

SECRETS = {
    "LAKE_PASSWORD": "5ecret",
    "HOOK_URL": "https://x.example/5ecret",
    "HOOK_SECRET": "5e" * 8,
}


def parse(text: str) -> Declaration:
    return parse_declaration(text, SECRETS)


def test_everything_that_can_be_declared_is_read() -> None:
    [account] = parse(WHOLE)
    assert account.quotas == {"sources": 50}
    [lake] = account.destinations
    assert lake.type == "postgres"
    assert lake.properties["port"] == "5433"
    assert lake.properties["ssl"] == "true"
    assert lake.properties["password"] == "5ecret"
    [web] = account.sources
    assert web.options == {"split_mode": "widen", "contract.columns": "freeze"}
    assert web.tables == {"order lines": {"key_change": "append"}}
    [hook] = account.hooks
    assert hook.url == "https://x.example/5ecret"
    assert "5ecret" not in repr(account)


def test_a_new_installation_gets_everything_and_no_secret_is_shown() -> None:
    changes = plan_changes(parse(WHOLE), ())
    assert [type(one.wanted).__name__ for one in changes] == [
        "DeclaredAccount",
        "DeclaredDestination",
        "DeclaredSource",
        "DeclaredHook",
    ]
    assert all(one.present is None for one in changes)
    secret = {one.path[-1] for change in changes for one in change.values if one.is_secret}
    assert secret == {"password", "url", "secret"}


def there(**changes: object) -> Declaration:
    """What is there after the declaration above was carried out."""
    [account] = parse(WHOLE)
    url = SecretText("postgresql://loader:5ecret@db:5433/lake")
    lake = replace(
        account.destinations[0],
        id=2,
        properties=dict(account.destinations[0].properties) | {"url": url},
    )
    hook = replace(account.hooks[0], id=1, paused=False, enabled=True)
    found = replace(account, id=1, destinations=(lake,), hooks=(hook,))
    return (replace(found, **changes),)  # type: ignore[arg-type]


def test_a_second_time_nothing_changes() -> None:
    assert plan_changes(parse(WHOLE), there()) == []


def test_a_section_is_whole_and_what_is_not_named_stays() -> None:
    text = WHOLE.replace('contract.columns = "freeze"\n', "").replace('display_name = "Web"\n', "")
    text = text.replace("[account.source.quotas]\ntables = 500\n", "")
    [change] = plan_changes(parse(text), there())
    assert change.values == (ValueChange(("options", "contract.columns"), "freeze", None),)
    other = DeclaredSource("other", "Other", paused=False)
    [account] = there()
    assert plan_changes(parse(text), there(sources=(*account.sources, other))) == [change]


def test_an_account_is_known_by_its_id_and_gets_another_name() -> None:
    [change] = plan_changes(parse('[[account]]\nid = 1\nname = "Store"'), there())
    assert change.values == (ValueChange(("name",), "Shop", "Store"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("account = 1", r"written as \[\[...account\]\]"),
        ("[[account", "is no TOML"),
        ("[[acount]]", "did you mean account"),
        ("[[account]]\nname = 1", "is to be a text"),
        ("[[account]]", "has no name"),
        ('[[account]]\nname = "a"\nquota = 1', "did you mean quotas"),
        ('[[account]]\nname = "a"\n[[account]]\nname = "a"', "declared twice"),
        ('[[account]]\nname = "a"\n[[account.source]]\nname = "s"\npaused = 1', "true or false"),
        (
            '[[account]]\nname = "a"\n[[account.destination]]\nname = "d"\npassword = "env:NONE"',
            "the environment variable NONE, which is not set",
        ),
    ],
)
def test_what_is_no_declaration(text: str, said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[account.source]]\nname = "s"\ndestination = "Sea"', "no destination 'Sea'"),
        ('[[account.hook]]\nid = 9\ndestination = "Lake"', "no hook 9"),
        ("[[account.hook]]\npaused = true", "neither id nor url"),
        ('[[account.destination]]\nname = "Sea"\nid = 99', "no destination 99"),
    ],
)
def test_what_is_not_there(text: str, said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        plan_changes(parse(f'[[account]]\nname = "Shop"\n{text}'), there())


def test_several_with_one_name_need_an_id() -> None:
    twice = (*there(), replace(there()[0], id=2))
    with pytest.raises(OperatorError, match=r"several accounts .* \(1, 2\)"):
        plan_changes(parse(WHOLE), twice)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda text: not text.startswith("env:")
)
values = st.one_of(plain, st.integers(0, 9), st.booleans())
sections = st.dictionaries(
    names.filter(lambda name: "." not in name and name != "contract"), values, max_size=3
)


@st.composite
def accounts(draw: st.DrawFn, number: int) -> DeclaredAccount:
    called = draw(st.lists(st.sampled_from(["Lake", "Sea", "11", "é\x7f\n"]), max_size=3))
    rows = tuple(
        DeclaredDestination(
            name,
            10 * number + place,
            "postgres",
            {"host": draw(plain), "password": SecretText("x"), "url": SecretText("postgresql://x")},
        )
        for place, name in enumerate(called)
    )
    places = st.sampled_from([None, *(name_destination(row, rows) for row in rows)])
    sources = tuple(
        DeclaredSource(
            name,
            display_name=draw(plain),
            paused=draw(st.booleans()),
            destination=draw(places),
            options=draw(sections),
            tables=draw(st.dictionaries(names, sections, max_size=2)),
            webhook=draw(st.dictionaries(names, st.lists(plain, max_size=2), max_size=2)),
            quotas=draw(sections),
        )
        for name in draw(st.lists(names, max_size=2, unique=True))
    )
    hooks = tuple(
        DeclaredHook(
            place,
            SecretText(f"https://x/{place}"),
            draw(places) or None,
            draw(st.booleans()),
            draw(st.booleans()),
            draw(st.sampled_from([None, SecretText("5ecret")])),
        )
        for place in range(draw(st.integers(0, 2)))
    )
    return DeclaredAccount(draw(names), number, draw(sections), rows, sources, hooks)


installations = st.integers(0, 3).flatmap(
    lambda count: st.tuples(*(accounts(number + 1) for number in range(count)))
)


def export(present: Declaration) -> str:
    """As `treadle export`, where an account named all destinations."""
    return render_declaration(
        tuple(
            replace(
                account,
                destinations=tuple(
                    replace(
                        row,
                        id=None if has_own_name(row, account.destinations) else row.id,
                        properties={k: v for k, v in row.properties.items() if k != "url"},
                    )
                    for row in account.destinations
                ),
            )
            for account in present
        )
    )


@settings(max_examples=80, deadline=None)
@given(installations)
def test_what_is_exported_changes_nothing_when_it_is_applied(present: Declaration) -> None:
    text = export(present)
    assert "5ecret" not in text
    assert "https://" not in text
    assert plan_changes(parse_declaration(text, {}), present) == []


@settings(max_examples=30, deadline=None)
@given(installations, installations)
def test_each_planned_value_is_one_that_differs(before: Declaration, after: Declaration) -> None:
    wanted = parse_declaration(export(after), {})
    try:
        changes = plan_changes(wanted, before)
    except OperatorError:
        return  # an id that is not there
    for change in changes:
        assert change.present is None or change.values
        assert all(one.before != one.after for one in change.values)
