"""Requests made up from the OpenAPI document: `python -m tests.fuzz.request_fuzzer --seconds N`.

Serves treadle with both surfaces of the control API and sends what schemathesis makes of the
document: requests as described and requests that are not. Nothing but documented answers may come
back, never a 5xx, and no process may fall over. Some values are made to fit, because chance alone
never finds a token.
"""

import argparse
import itertools
import json
import random
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.servers.treadle import Client, TreadleServer

SURFACES = ("seed", "modern")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
AT_A_TIME = 10
"""Requests for one operation before the next has its turn."""
PARTNER = {"partner_id": "oc_partner", "partner_secret": "oc_" + "5ecret" * 8}
"""Credentials of the partner, without which no account is made over HTTP."""
HERE = "127.0.0.1"
"""The only host that the server is led to by what is made up."""
LONGEST_WAIT = 0.05
"""Seconds: a request may ask to wait for a minute, which would be all it does."""


Request = schemathesis.Case[Any]
Operation = APIOperation[Any, Any, Any, Any]
EVENTS = "/v1/events"
NOTIFICATIONS = "/notifications/public/v1/api"
HOOK = {"type": "post_load", "config": {"url": f"https://{HERE}/loaded"}}


@dataclass
class Findings:
    """What was sent and what was wrong.

    Attributes:
        answers: (operation, status) -> how many.
        wrong: what was wrong, by operation and kind, the first of each.
        described: the operations of the document.
    """

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: dict[tuple[str, str], str] = field(default_factory=dict)
    described: set[str] = field(default_factory=set)

    def unanswered(self) -> set[str]:
        """The operations that no request was answered for."""
        return self.described - {label for label, status in self.answers if status}


class Site:
    """A server with something to ask for.

    One account's sources, hooks, addresses and destinations come and go with what is sent;
    another's source keeps its token, so that there is always somebody who may push.

    Attributes:
        operator: the account in which things come and go.
        pusher: the account whose source stays.
        token: an import token of the pusher.
        ids: of what the operator has, by the name of the parameter.
    """

    def __init__(self, server: TreadleServer) -> None:
        self.server = server
        self.session = requests.Session()
        first = server.account()
        second = json.loads(server.treadle("account", "create", "--name", "second", "--json"))
        server.stop()
        server.start()  # the second account loads where the first does
        self.operator = Client(server, *first)
        self.pusher = Client(server, second["stitch_client_id"], second["access_token"])
        _, made = self.new_source(self.pusher)
        self.token = made["access_token"]
        pushed = self.pusher.push(self.token, [{"id": 1}], table="orders")
        self.receipt = pushed.headers["Treadle-Receipt"]
        [own] = self.ask("GET", "/v1/tokens?kind=account")["tokens"]
        self.own_token_id = own["id"]
        self.ids: dict[str, Any] = {}
        self.renew()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer to a call of the operator."""
        answer = self.operator.http.request(method, path, json=body, headers=self.operator.account)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def renew(self) -> None:
        """Have in the operator's account one of everything that can be asked for.

        A source that may be deleted at any time, and a second one with a table, which is deleted by
        chance only. A load of this table has a delivery to the hook.
        """
        self.ids["source_id"], made = self.new_source(self.operator)
        self.ids["token_id"] = made["id"]
        self.ids["destination_id"] = self.have(
            "/v4/destinations", {"type": "duckdb", "properties": {"path": "fuzz.duckdb"}}
        )
        self.ids["email_id"] = self.have(
            f"{NOTIFICATIONS}/custom-emails", {"email_address": "a@b.c"}
        )
        for hook in self.ask("GET", "/v1/hooks")["hooks"]:  # of a destination that may be gone
            self.ask("DELETE", f"{NOTIFICATIONS}/hooks/{hook['id']}")
        hook = HOOK | {"destination_id": self.ids["destination_id"]}
        self.ids["hook_id"] = self.ask("POST", f"{NOTIFICATIONS}/hooks", hook)["id"]
        self.ids["table_source_id"], made = self.new_source(self.operator)
        self.operator.push(made["access_token"], [{"id": 1}], table="orders")

    def have(self, path: str, body: object) -> int:
        """The id of what a list ends with, or of what is made where it is empty."""
        found = self.ask("GET", path)
        found = found["post_load"] if isinstance(found, dict) else found
        return int((found[-1] if found else self.ask("POST", path, body))["id"])

    def new_source(self, client: Client) -> tuple[int, Any]:
        """The id of a new source, and its new token."""
        name = f"fuzz {random.getrandbits(64):x}"  # a name is never given twice
        body = {"type": "import_api", "display_name": name}
        source_id = client.http.post("/v4/sources", json=body, headers=client.account).json()["id"]
        made = client.http.post(f"/v4/sources/{source_id}/tokens", headers=client.account)
        return source_id, made.json()

    def authorization(self, operation: Operation) -> str:
        """What a caller of an operation shows."""
        if asks_for_account(operation):
            return self.operator.account["Authorization"]
        return f"Bearer {self.token}"

    def fitting(self, operation: Operation) -> dict[str, Any]:
        """Values of the parameters of an operation that lead somewhere."""
        if not asks_for_account(operation):
            client_id = self.pusher.client_id
            return {
                "client_id": client_id,
                "token": self.token,
                "table": "orders",
                "id": self.receipt,
            }
        values = {
            **self.ids,
            "client_id": self.operator.client_id,
            "source_type": "import_api",
            "destination_type": "postgres",
            "table": "orders",
            "source": self.ids["table_source_id"],
        }
        about_table = {"{stream_id}", "{table}"} & set(operation.path.split("/"))
        if about_table or operation.path.endswith(("/streams", "/loads")):
            values["source_id"] = self.ids["table_source_id"]
        if "{stream_id}" in operation.path:
            streams = self.ask("GET", f"/v4/sources/{self.ids['table_source_id']}/streams")
            if streams:
                values["stream_id"] = streams[-1]["stream_id"]
        if "{delivery_id}" in operation.path:
            page = self.ask("GET", f"/v1/hooks/{self.ids['hook_id']}/deliveries?limit=1")
            if page["deliveries"]:
                values["delivery_id"] = page["deliveries"][0]["delivery_id"]
        return values

    def fit_body(self, operation: Operation, body: Any) -> None:
        """Make a body name what there is: the account of records, ids, the partner."""
        for record in body if isinstance(body, list) else []:
            if isinstance(record, dict) and "client_id" in record:
                record["client_id"] = self.pusher.client_id
                _hold_keys(record.get("data"), record.get("key_names"))
        if not isinstance(body, dict):
            return
        if isinstance(body.get("messages"), list):
            body["schema"] = {}
            for message in body["messages"]:
                if isinstance(message, dict):
                    _hold_keys(message.get("data"), body.get("key_names"))
        body.update({name: self.ids[name] for name in body if name in self.ids})
        if operation.path == "/v3/accounts":
            address = f"{random.getrandbits(64):x}@example.com"  # has no account yet
            body.update(PARTNER, company="c", email=address, first_name="f", last_name="l")
        if "email_address" in body:
            body["email_address"] = "ann@example.com"
        if operation.path.startswith("/v4/destinations") and "properties" in body:
            body["properties"] = {"path": "fuzz.duckdb"}
            if "type" in body:
                body["type"] = "duckdb"
        if operation.path.endswith("/hooks") and isinstance(body.get("config"), dict):
            body["config"] = HOOK["config"]

    def spare(self, case: Request) -> None:
        """Keep a request from taking the operator's own token, or from leading elsewhere.

        A server connects to the hosts of destinations and of hooks. Whatever was made up, it is
        not to connect to other machines.
        """
        values: Any = case.path_parameters
        if values and str(values.get("token_id")) == str(self.own_token_id):
            values["token_id"] = self.ids["token_id"]
        for part in _objects_of(case.body):
            if isinstance(part.get("host"), str):
                part["host"] = HERE
            if isinstance(part.get("url"), str):
                part["url"] = re.sub(r"^(https?://)[^/?#]*", rf"\g<1>{HERE}", part["url"])


def asks_for_account(operation: Operation) -> bool:
    """Whether an operation is called with a token of an account, and with no other."""
    wanted = operation.definition.raw.get("security", [])
    schemes = {name for one in wanted for name in one}
    return schemes == {"account_token"}


def _objects_of(body: Any) -> list[dict[str, Any]]:
    """A body that is an object, and the objects that are values of it."""
    if not isinstance(body, dict):
        return []
    return [body, *(value for value in body.values() if isinstance(value, dict))]


def _hold_keys(data: Any, names: Any) -> None:
    if isinstance(data, dict) and isinstance(names, list):
        for name in names:
            if isinstance(name, str) and data.get(name) is None:
                data[name] = 1


def impatient(case: Request) -> None:
    """Shorten what a request asks to wait."""
    query: Any = case.query
    if isinstance(query, dict) and "wait" in query:
        try:
            query["wait"] = min(float(query["wait"]), LONGEST_WAIT)
        except (TypeError, ValueError):
            return
    if case.headers and "Prefer" in case.headers:
        case.headers["Prefer"] = f"wait={LONGEST_WAIT}, ack=loaded"


def is_stream(site: Site, case: Request, shown: dict[str, str]) -> bool:
    """Whether a request is answered with events, which are not waited for: they go on for ever."""
    asked = case.as_transport_kwargs(base_url=site.server.url, headers=shown)
    with site.session.request(**asked, stream=True, timeout=60) as answer:
        kind = answer.headers.get("Content-Type", "")
        return answer.status_code == 200 and kind.startswith("text/event-stream")


def label_of(operation: Operation) -> str:
    """Method and path, as in findings."""
    return f"{operation.method.upper()} {operation.path}"


def requests_of(operation: Operation) -> st.SearchStrategy[Request]:
    """Requests that are as described, and such that are not."""
    modes = schemathesis.GenerationMode
    return st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])


def fuzz_operation(
    site: Site,
    operation: Operation,
    strategy: st.SearchStrategy[Request],
    findings: Findings,
    seed: int,
    deadline: float,
    at_a_time: int,
) -> None:
    """Send some requests for one operation and note what came back."""
    label = label_of(operation)

    @hypothesis.seed(seed)
    @settings(
        max_examples=at_a_time,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, fit=st.integers(0, 9).map(lambda number: 9 - number))
    def send(case: Request, fit: int) -> None:
        if time.monotonic() > deadline:
            return
        if fit > 1:
            values = site.fitting(operation)
            for given in (case.path_parameters, case.query):
                if isinstance(given, dict):
                    given.update({name: values[name] for name in given if name in values})
            if operation.path.endswith("/schema") and isinstance(case.query, dict):
                case.query["source"] = values["source"]
        if fit > 3:
            site.fit_body(operation, case.body)
        site.spare(case)
        impatient(case)
        shown = {"Authorization": site.authorization(operation)} if fit else {}
        if operation.path == EVENTS and is_stream(site, case, shown):
            findings.answers[label, 200] += 1
            return
        response = case.call(
            base_url=site.server.url, session=site.session, headers=shown, timeout=60
        )
        findings.answers[label, response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except (FailureGroup, Failure) as failed:
            for one in failed.exceptions if isinstance(failed, FailureGroup) else [failed]:
                key = (f"{site.server.settings['surface']} {label}", type(one).__name__)
                what = f"{one}\n{case.as_curl_command()}\n{response.status_code} "
                findings.wrong.setdefault(key, what + response.text[:2000])

    try:
        send()
    except hypothesis.errors.Unsatisfiable:
        findings.answers[label, 0] += 1  # nothing wrong can be made up for this one
    if operation.method.lower() == "delete":
        site.renew()


@contextmanager
def serving(surface: str) -> Iterator[Site]:
    """A server with a surface of the control API, in a folder of its own."""
    environment = {f"TREADLE_{name.upper()}": value for name, value in PARTNER.items()}
    settings = {
        "surface": surface,
        "load_age_seconds": "0.1",
        "hook_urls": "any",  # what is made up leads to this machine
        "destinations_local": "true",
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        TreadleServer(Path(folder) / "data", None, settings, environment) as server,
    ):
        yield Site(server)


def upright(site: Site) -> list[str]:
    """What the server's log says that it must not, and whether any process was replaced."""
    log = site.server.log.read_text()
    said = [f"a traceback:\n{log[log.index('Traceback') :][:5000]}"] if "Traceback" in log else []
    starts = re.findall(r"server: (\S.*?) started, process \d+", log)
    # Each role started twice: before and after the second account was made.
    said += [f"{name} started again" for name, times in Counter(starts).items() if times > 2]
    return said


def usable(found: Any) -> Operation:
    """An operation of the document; one that cannot be read is a fault of the document."""
    assert isinstance(found, Ok), found
    operation: Operation = found.ok()
    return operation


def fuzz(
    surface: str,
    seconds: float,
    seed: int,
    *,
    rounds: int | None = None,
    at_a_time: int = AT_A_TIME,
    below: tuple[str, ...] = ("/",),
) -> Findings:
    """Send requests for all operations in turn until the time is over.

    Args:
        surface: of the control API.
        seconds: when to stop.
        seed: the same requests are made of the same seed.
        rounds: stop after so many requests for every operation, `at_a_time` in each round.
        at_a_time: requests for one operation before the next has its turn.
        below: where the paths of these operations begin.
    """
    findings = Findings()
    warnings.simplefilter("ignore")  # of the generator, about schemas that allow nothing wrong
    with serving(surface) as site:
        document = site.operator.http.get("/openapi.json").json()
        schema = schemathesis.openapi.from_dict(document)
        operations = [
            operation
            for operation in map(usable, schema.get_all_operations())
            if operation.path.startswith(below)
        ]
        findings.described.update(map(label_of, operations))
        strategies = [requests_of(operation) for operation in operations]
        deadline = time.monotonic() + seconds
        turns = itertools.count() if rounds is None else range(rounds)
        for _ in itertools.takewhile(lambda _: time.monotonic() < deadline, turns):
            for operation, strategy in zip(operations, strategies, strict=True):
                fuzz_operation(site, operation, strategy, findings, seed, deadline, at_a_time)
                seed += 1
        for said in upright(site):
            findings.wrong[surface, said.partition(":")[0]] = said
    return findings


def main() -> int:
    """Fuzz both surfaces, half of the time each; returns 1 when something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.request_fuzzer", description=__doc__
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.getrandbits(32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")  # noqa: T201 - a command prints
    failed = False
    for surface in SURFACES:
        findings = fuzz(surface, arguments.seconds / len(SURFACES), arguments.seed)
        print(f"{surface}: {findings.answers.total()} requests")  # noqa: T201
        for (label, status), count in sorted(findings.answers.items()):
            print(f"  {label} {status}: {count}")  # noqa: T201
        for (where, kind), what in findings.wrong.items():
            failed = True
            print(f"\n{where}: {kind}\n{what}")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
