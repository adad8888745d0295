"""Whatever is sent to the calls of the document, the answer is one that the document describes."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.control.api import Api

from treadle.control.app import ConnectApiSettings
from treadle.store.token_rules import TokenRequest

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["import_api", "2019-06-01T00:00:00Z", "orders", "Import API", "", "a@b.c"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6
)
keys = st.sampled_from(
    [
        "type",
        "display_name",
        "name",
        "properties",
        "paused_at",
        "destination_id",
        "streams",
        "email_address",
        "disabled_at",
    ]
)
bodies = (
    st.dictionaries(keys, values).map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {"type": st.just("import_api"), "display_name": st.text(min_size=1)},
        optional={"name": st.text(), "properties": st.just({})},
    ).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | st.fixed_dictionaries(
        {}, optional={"display_name": st.text(), "paused_at": st.datetimes().map(str) | st.none()}
    ).map(lambda value: json.dumps(value).encode())
    | st.binary()
    | st.none()
)
segments = (
    st.sampled_from(["1", "2", "3", "9" * 19, "import_api"])
    | st.integers().map(str)
    | st.text(min_size=1).map(lambda text: quote(text, safe=""))
)
queries = st.none() | st.text() | st.integers().map(str)


@pytest.fixture(scope="module", params=["seed", "modern"])
def served(request: pytest.FixtureRequest) -> Iterator[Api]:
    """One server for all examples: what they leave behind is part of the next ones."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # No desk answers here, and none is waited for.
        patch.setattr("treadle.questions.client.CONNECT_SECONDS_MAX", 0.0)
        api = Api(Path(folder), ConnectApiSettings(request.param))
        for name in ("A", "B", "C"):
            api.create(name)
        yield api
        api.store.close()


def keep_token(served: Api) -> None:
    """Take another account token where an example has revoked the one that is used."""
    if served.store.accounts.find_token_holder(served.token) is None:
        asked = TokenRequest("account")
        made = served.store.tokens.issue_token(asked, account_id=served.account.id)
        served.token = made.secret or ""


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_answer_is_described(served: Api, data: st.DataObject) -> None:
    keep_token(served)
    paths = served.document.value["paths"]
    path = data.draw(st.sampled_from(sorted(paths)))
    method = data.draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]))
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + data.draw(segments) + rest.partition("}")[2]
    page = data.draw(queries)
    if page is not None:
        path += "?page=" + quote(page, safe="", errors="replace")
    token = data.draw(st.sampled_from(["", "", "", "ac_wrong", None]))
    # The helper fails for an answer that the document does not describe, 500 is one to report.
    answer = served.call(method.upper(), path, raw=data.draw(bodies), token=token)
    assert answer.status < 500 or (answer.status == 503 and "TryLater" in answer.text)


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_label_is_kept_to_the_character_or_refused(served: Api, label: str) -> None:
    keep_token(served)
    answer = served.post("/v4/sources", {"type": "import_api", "display_name": label})
    if answer.status == 200:
        assert answer.body["display_name"] == label
        assert served.delete(f"/v4/sources/{answer.body['id']}").body["display_name"] == label
    else:
        assert answer.status == 400
        assert answer.body["error"] in ("InvalidDisplayName", "InvalidName", "InvalidBody")
