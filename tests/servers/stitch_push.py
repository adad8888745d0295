"""Pushes records with `stitchclient`, the official Python client: a program of its own.

The client was written for an older Python; the names it looks for in `collections` are put there
first, which is all the shim it needs.
"""

import collections
import collections.abc
import datetime
import json
import sys
import uuid
from decimal import Decimal
from typing import Any

FIRST = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def record(number: int) -> dict[str, Any]:
    """A record with a value of every type that the client's Transit writer tells apart."""
    return {
        "id": number,
        "name": f"customer {number}",
        "price": Decimal(number) / 8,
        "at": FIRST + datetime.timedelta(milliseconds=1001 * number),
        "reference": uuid.UUID(int=number),
        "large": 2**53 + number,
        "active": number % 2 == 0,
        "score": number / 4,
        "address": {"city": "Ooo", "floor": number % 7},
        "tags": [f"t{number % 3}", "~odd", "^caret"],
    }


def main() -> None:
    """Push `count` records to `url`; prints how many batches were answered."""
    for name in ("MutableMapping", "Mapping", "Hashable", "MutableSet", "Sequence"):
        setattr(collections, name, getattr(collections.abc, name))
    from stitchclient.client import Client

    url, client_id, token, count = sys.argv[1:]
    answered: list[object] = []
    client = Client(
        int(client_id),
        token,
        table_name="customers",
        key_names=["id"],
        callback_function=answered.extend,
        override_stitch_url=url,
    )
    with client:
        for number in range(int(count)):
            message = {"action": "upsert", "sequence": 1_000_000 + number, "data": record(number)}
            client.push(message, number)
    print(json.dumps(len(answered)))  # noqa: T201 - this program's answer


if __name__ == "__main__":
    main()
