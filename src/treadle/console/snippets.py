"""What people paste to send a first record, for the tools that they have. Pure."""

import json
import shlex
from dataclasses import dataclass
from typing import Final

TABLE: Final = "customers"
PLACEHOLDER: Final = "YOUR_TOKEN"
"""Stands for a token that is not shown any more."""


@dataclass(frozen=True, slots=True)
class SendingSnippet:
    """A text to paste.

    Attributes:
        name: in the URL.
        label: of the tool.
        hint: where it is pasted, and what it needs; a sentence.
    """

    name: str
    label: str
    hint: str
    code: str


def make_record(client_id: int, sequence: int) -> dict[str, object]:
    """Return the record that all snippets send, as the Import API takes it."""
    return {
        "client_id": client_id,
        "table_name": TABLE,
        "sequence": sequence,
        "action": "upsert",
        "key_names": ["id"],
        "data": {"id": "1", "name": "Ann", "updated_at": "2026-01-01T00:00:00Z"},
    }


def make_snippets(
    url: str, client_id: int, token: str, sequence: int
) -> tuple[SendingSnippet, ...]:
    """Return a snippet for each tool.

    Args:
        url: of the server, without a slash at its end.
        client_id: of the account.
        token: an import token of the source, or PLACEHOLDER.
        sequence: of the record: the present time in nanoseconds, as the other snippets have it, so
            that a later record wins whichever of them sends it.
    """
    record = make_record(client_id, sequence)
    data = record["data"]
    return (
        SendingSnippet(
            "curl",
            "curl",
            "Paste it into a terminal.",
            f"curl -s -w '\\n' {shlex.quote(url + '/v2/import/push')} \\\n"
            f"  -H {shlex.quote('Authorization: Bearer ' + token)} \\\n"
            "  -H 'Content-Type: application/json' \\\n"
            f"  -d {shlex.quote(json.dumps([record], separators=(',', ':')))}\n",
        ),
        SendingSnippet(
            "httpx",
            "Python",
            "Save it and run it with Python; it needs `pip install httpx`.",
            "import time\n"
            "import httpx\n"
            "\n"
            "record = {\n"
            f'    "client_id": {client_id},\n'
            f'    "table_name": "{TABLE}",\n'
            '    "sequence": time.time_ns(),\n'
            '    "action": "upsert",\n'
            '    "key_names": ["id"],\n'
            f'    "data": {json.dumps(data)},\n'
            "}\n"
            "answer = httpx.post(\n"
            f'    "{url}/v2/import/push",\n'
            f'    headers={{"Authorization": "Bearer {token}"}},\n'
            "    json=[record],\n"
            ")\n"
            "print(answer.status_code, answer.text)\n",
        ),
        SendingSnippet(
            "stitchclient",
            "stitchclient",
            "The official Python client; it needs `pip install stitchclient`.",
            "import collections, collections.abc, time\n"
            "\n"
            "# The client was written for an older Python, which had these names there.\n"
            'for name in ("MutableMapping", "Mapping", "Hashable", "MutableSet", "Sequence"):\n'
            "    setattr(collections, name, getattr(collections.abc, name))\n"
            "from stitchclient.client import Client\n"
            "\n"
            f'url = "{url}/v2/import/push"\n'
            f'with Client({client_id}, "{token}", table_name="{TABLE}", key_names=["id"],\n'
            "            override_stitch_url=url) as client:\n"
            "    client.push({\n"
            '        "action": "upsert",\n'
            '        "sequence": time.time_ns(),\n'
            f'        "data": {json.dumps(data)},\n'
            "    })\n",
        ),
        SendingSnippet(
            "singer",
            "Singer",
            "For any Singer tap, as in `tap-csv | treadle singer`; the machine of the tap needs "
            "treadle.",
            f"TREADLE_PUSH_URL={shlex.quote(url)} TREADLE_PUSH_TOKEN={shlex.quote(token)} \\\n"
            "  treadle singer --loaded <<'END'\n"
            + json.dumps(
                {
                    "type": "SCHEMA",
                    "stream": TABLE,
                    "schema": {
                        "properties": {"id": {"type": "string"}, "name": {"type": "string"}}
                    },
                    "key_properties": ["id"],
                }
            )
            + "\n"
            + json.dumps({"type": "RECORD", "stream": TABLE, "record": {"id": "1", "name": "Ann"}})
            + "\nEND\n",
        ),
        SendingSnippet(
            "push",
            "treadle push",
            "For a file of JSON objects, from any machine that has treadle.",
            f"printf '%s\\n' {shlex.quote(json.dumps(data))} > {TABLE}.ndjson\n"
            f"TREADLE_PUSH_TOKEN={shlex.quote(token)} treadle push {TABLE}.ndjson \\\n"
            f"  --table {TABLE} --key id --url {shlex.quote(url)} --client-id {client_id} --wait\n",
        ),
    )
