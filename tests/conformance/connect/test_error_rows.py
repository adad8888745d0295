"""Every error row of connect-api.md 2.5 and 2.6, each with the request that brings it about.

`DOCUMENTED` names the rows as the reference tables list them; `CASES` and `ELSEWHERE` together must
cover them, so that no row is forgotten.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.integration.control.api import Answer, Api, MakeApi

from treadle.control.app import ConnectApiSettings
from treadle.store.token_rules import TokenRequest
from treadle.store.tokens import TokenFilter

POST_RULE = (
    "POST body may only include a non-empty type, a non-empty display_name and map of string "
    "properties"
)
PUT_RULE = "PUT body many only include the keys: display_name, properties, and paused_at"
NAME_RULE = (
    "The name field must be under 50 characters, and can only contain lowercase letters, numbers, "
    "underscores, or dollar signs. It must begin with a letter or an underscore."
)

DOCUMENTED = {
    "get source-type: unknown type",
    "get source: unknown id",
    "post source: unknown type",
    "post source: explicit name in use",
    "post source: derived name in use",
    "post source: body",
    "post source: bad name",
    "post source: nothing usable after deriving",
    "post source: no access to the type",
    "post source: bad properties",
    "post source: cron without the plan",
    "post source: cron with both day fields",
    "post source: malformed JSON",
    "put source: keys",
    "put source: bad display name",
    "put source: unknown id",
    "put source: deleted",
    "put source: bad properties",
    "put source: cron",
    "put source: unparsable paused_at",
    "delete source: unknown id",
    "delete source: twice",
    "post token: unknown source",
    "post token: deleted source",
    "post token: not import_api",
    "post token: two active",
    "get tokens: unknown source",
    "get tokens: not import_api",
    "delete token: unknown source",
    "delete token: unknown",
    "delete token: already revoked",
    "delete token: not a number",
    "delete token: foreign",
    "any: no account token",
    "any: unknown route",
    "any: unknown method",
}

ELSEWHERE = {
    "post source: no access to the type": "there is no plan: every account may use every type",
    "post source: cron without the plan": "cron_expression is a bad property, as any other",
    "post source: cron with both day fields": "cron_expression is a bad property, as any other",
    "put source: cron": "cron_expression is a bad property, as any other",
}
"""Rows that cannot come about here, and why."""


@dataclass(frozen=True)
class World:
    """What the requests are about: every id stands for a case."""

    api: Api
    source: int
    token: int
    deleted: int
    webhook: int
    foreign_token: int
    revoked: int


def _world(api: Api) -> World:
    source = api.create("Import API")
    deleted = api.create("Gone")
    foreign = _token_of(api, api.create("Other"))
    webhook = api.store.sources.create_source(
        api.account.id, type="webhook.x", display_name="X", name="x", bootstrap_token=False
    )
    api.delete(f"/v4/sources/{deleted['id']}")
    token = _token_of(api, source)
    second = api.post(f"/v4/sources/{source['id']}/tokens").body["id"]
    api.delete(f"/v4/sources/{source['id']}/tokens/{second}")
    api.post(f"/v4/sources/{source['id']}/tokens")
    return World(
        api=api,
        source=source["id"],
        token=token,
        deleted=deleted["id"],
        webhook=webhook.id,
        foreign_token=foreign,
        revoked=second,
    )


def _token_of(api: Api, source: Any) -> int:
    """The id of a source's first token, which was used."""
    if not api.settings.shows_tokens:
        made = api.post(f"/v4/sources/{source['id']}/tokens").body
        api.use(made["access_token"])
        return int(made["id"])
    [(id_, secret)] = source["properties"]["token"].items()
    api.use(secret)
    return int(id_)


def _create(display_name: object = "New", **more: object) -> dict[str, object]:
    return {"type": "import_api", "display_name": display_name, **more}


def _coded(status: int, code: str, message: str) -> tuple[int, str]:
    """Status and bytes, keys in the printed order."""
    body = {"error": code, "data": {"message": message}}
    return status, json.dumps(body, separators=(",", ":"), ensure_ascii=False)


def _no_source(status: int, id_: object) -> tuple[int, str]:
    return _coded(status, "InvalidId", f"source not found ({id_})")


def _post(body: object) -> Callable[[World], Answer]:
    return lambda world: world.api.post("/v4/sources", body)


def _put(body: object, of: str = "source") -> Callable[[World], Answer]:
    return lambda world: world.api.put(f"/v4/sources/{getattr(world, of)}", body)


CARD: dict[str, Any] = {
    "type": "import_api",
    "current_step": 1,
    "current_step_type": "form",
    "steps": [
        {
            "type": "form",
            "properties": [
                {
                    "name": "token",
                    "is_required": True,
                    "is_credential": False,
                    "system_provided": True,
                    "property_type": "read_only",
                    "json_schema": {"type": "string"},
                    "provided": False,
                    "tap_mutable": False,
                }
            ],
        },
        {"type": "fully_configured", "properties": []},
    ],
}


def _bad_properties(names: list[str], *, provided: bool) -> Callable[[World], tuple[int, str]]:
    card = json.loads(json.dumps(CARD))
    if provided:
        card["current_step"], card["current_step_type"] = 2, "fully_configured"
        card["steps"][0]["properties"][0]["provided"] = True
    once = json.loads(json.dumps(card))
    once["steps"][0]["properties"] = []

    def expected(world: World) -> tuple[int, str]:
        body = {
            "error": "InvalidProperties",
            "data": {
                "message": "properties do not match schema",
                "bad_properties": names,
                "report_card": card if world.api.settings.shows_tokens else once,
            },
        }
        return 400, json.dumps(body, separators=(",", ":"))

    return expected


Case = tuple[str, Callable[[World], Answer], tuple[int, str] | Callable[[World], tuple[int, str]]]

BAD_BODIES: list[object] = [
    [],
    {},
    _create(frequency="30"),
    _create(type=""),
    _create(""),
    {"type": "import_api"},
    {"display_name": "A"},
    _create(properties={"a": 1}),
    _create(properties="a"),
]

CASES: list[Case] = [
    (
        "get source-type: unknown type",
        lambda world: world.api.get("/v4/source-types/platform.hubspot"),
        _coded(404, "InvalidType", "invalid source type (platform.hubspot)"),
    ),
    (
        "get source: unknown id",
        lambda world: world.api.get("/v4/sources/999999"),
        _no_source(404, 999999),
    ),
    (
        "post source: unknown type",
        _post(_create(type="platform.hubspot")),
        _coded(400, "InvalidType", "invalid source type (platform.hubspot)"),
    ),
    (
        "post source: explicit name in use",
        _post(_create(name="import_api")),
        _coded(400, "InvalidName", "non-unique name (import_api)"),
    ),
    (
        "post source: derived name in use",
        _post(_create("IMPORT API!!!")),
        _coded(
            400,
            "InvalidName",
            "non-unique name after deriving it from display_name (IMPORT API!!! -> import_api)",
        ),
    ),
    *(
        ("post source: body", _post(body), _coded(400, "InvalidBody", POST_RULE))
        for body in BAD_BODIES
    ),
    (
        "post source: malformed JSON",
        lambda world: world.api.post("/v4/sources", raw=b'{"type":"import_api",'),
        _coded(400, "InvalidBody", POST_RULE),
    ),
    *(
        (
            "post source: bad name",
            _post(_create(name=name)),
            _coded(400, "InvalidName", NAME_RULE),
        )
        for name in ("Sales", "1st", "a-b", "n" * 50, "")
    ),
    (
        "post source: nothing usable after deriving",
        _post(_create("####")),
        _coded(
            400, "InvalidDisplayName", "invalid name after deriving it from display_name (#### -> )"
        ),
    ),
    *(
        (
            "post source: bad properties",
            _post(_create(properties={name: value})),
            _bad_properties([name], provided=False),
        )
        for name, value in (
            ("token", "at_mine"),
            ("frequency_in_minutes", ""),
            ("cron_expression", "* * * * * *"),
        )
    ),
    (
        "put source: keys",
        _put({"type": "import_api"}),
        _coded(400, "InvalidBody", PUT_RULE),
    ),
    (
        "put source: keys",
        lambda world: world.api.put(f"/v4/sources/{world.source}", raw=b"{"),
        _coded(400, "InvalidBody", PUT_RULE),
    ),
    (
        "put source: bad display name",
        _put({"display_name": ""}),
        _coded(400, "InvalidDisplayName", "invalid display_name ()"),
    ),
    (
        "put source: unknown id",
        lambda world: world.api.put("/v4/sources/999999", {}),
        _no_source(400, 999999),
    ),
    (
        "put source: deleted",
        _put({"paused_at": None}, of="deleted"),
        lambda world: _no_source(400, world.deleted),
    ),
    *(
        (
            "put source: bad properties",
            _put({"properties": {name: value}}),
            _bad_properties([name], provided=True),
        )
        for name, value in (("start_date", ""), ("token", {}), ("cron_expression", "* * * * * *"))
    ),
    (
        "put source: unparsable paused_at",
        _put({"paused_at": "tomorrow"}),
        _coded(400, "InvalidBody", PUT_RULE),
    ),
    (
        "delete source: unknown id",
        lambda world: world.api.delete("/v4/sources/999999"),
        _no_source(400, 999999),
    ),
    (
        "delete source: twice",
        lambda world: world.api.delete(f"/v4/sources/{world.deleted}"),
        lambda world: _no_source(400, world.deleted),
    ),
    (
        "post token: unknown source",
        lambda world: world.api.post("/v4/sources/999999/tokens"),
        _no_source(400, 999999),
    ),
    (
        "post token: deleted source",
        lambda world: world.api.post(f"/v4/sources/{world.deleted}/tokens"),
        lambda world: _no_source(400, world.deleted),
    ),
    (
        "post token: not import_api",
        lambda world: world.api.post(f"/v4/sources/{world.webhook}/tokens"),
        lambda world: _coded(
            400, "InvalidType", f"source ({world.webhook}) is not an import_api source"
        ),
    ),
    (
        "post token: two active",
        lambda world: world.api.post(f"/v4/sources/{world.source}/tokens"),
        lambda world: _coded(
            400,
            "AccessDenied",
            f"source ({world.source}) already has the maximum of 2 active access tokens",
        ),
    ),
    (
        "get tokens: unknown source",
        lambda world: world.api.get("/v4/sources/999999/tokens"),
        _no_source(404, 999999),
    ),
    (
        "get tokens: not import_api",
        lambda world: world.api.get(f"/v4/sources/{world.webhook}/tokens"),
        lambda world: _coded(
            400, "InvalidType", f"source ({world.webhook}) is not an import_api source"
        ),
    ),
    (
        "delete token: unknown source",
        lambda world: world.api.delete(f"/v4/sources/999999/tokens/{world.token}"),
        _no_source(400, 999999),
    ),
    (
        "delete token: unknown",
        lambda world: world.api.delete(f"/v4/sources/{world.source}/tokens/999999"),
        _coded(400, "InvalidId", "token not found (999999)"),
    ),
    (
        "delete token: already revoked",
        lambda world: world.api.delete(f"/v4/sources/{world.source}/tokens/{world.revoked}"),
        lambda world: _coded(400, "InvalidId", f"token not found ({world.revoked})"),
    ),
    (
        "delete token: not a number",
        lambda world: world.api.delete(f"/v4/sources/{world.source}/tokens/first"),
        _coded(400, "InvalidId", "token not found (first)"),
    ),
    (
        "delete token: foreign",
        lambda world: world.api.delete(f"/v4/sources/{world.source}/tokens/{world.foreign_token}"),
        lambda world: _coded(400, "InvalidId", f"token not found ({world.foreign_token})"),
    ),
    (
        "any: no account token",
        lambda world: world.api.get("/v4/sources", token=None),
        (401, '{"message":"Not Authorized"}'),
    ),
    (
        "any: unknown route",
        lambda world: world.api.get("/v4/nowhere"),
        (404, '{"status":"NOT FOUND"}'),
    ),
    (
        "any: unknown method",
        lambda world: world.api.call("PATCH", f"/v4/sources/{world.source}"),
        (404, '{"status":"NOT FOUND"}'),
    ),
]


def test_every_documented_row_has_a_case_or_a_reason() -> None:
    covered = {name for name, _, _ in CASES}
    assert covered | ELSEWHERE.keys() == DOCUMENTED
    assert not covered & ELSEWHERE.keys()


@pytest.mark.parametrize("surface", ["seed", "modern"])
def test_every_documented_row_is_answered_to_the_byte(make_api: MakeApi, surface: str) -> None:
    api = make_api(ConnectApiSettings(era=surface))
    world = _world(api)
    before = [api.get("/v4/sources").text, api.get(f"/v4/sources/{world.source}/tokens").text]
    for name, request, expected in CASES:
        answer = request(world)
        wanted = expected(world) if callable(expected) else expected
        assert (answer.status, answer.text) == wanted, name
    after = [api.get("/v4/sources").text, api.get(f"/v4/sources/{world.source}/tokens").text]
    assert after == before, "a refused request changed something"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "ac_secret0001",
        "Basic ac_secret0001",
        "Bearer: ac_secret0001",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_valid_token_nothing_is_told(api: Api, method: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = api.call(method, "/v4/sources", token=None, headers=headers)
    assert (answer.status, answer.text) == (401, '{"message":"Not Authorized"}')


def test_a_token_is_looked_up_and_never_judged_by_its_prefix(api: Api) -> None:
    (secret,) = api.create()["properties"]["token"].values()
    for token in (secret, "ac_unknown", f"{api.token}x", api.token.upper(), "ac_é"):
        assert api.get("/v4/sources", token=token).status == 401
    for scheme in ("bearer", "BEARER", "Bearer  "):
        headers = {"Authorization": f"{scheme} {api.token}"}
        assert api.get("/v4/sources", token=None, headers=headers).status == 200


def test_a_disabled_token_opens_nothing(api: Api) -> None:
    asked = TokenRequest("account", "laptop")
    further = api.store.tokens.issue_token(asked, account_id=api.account.id)
    assert api.get("/v4/sources", token=further.secret).status == 200
    api.store.tokens.end_token(TokenFilter(("account",), api.account.id), further.id)
    assert api.get("/v4/sources", token=further.secret).status == 401
