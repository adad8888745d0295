"""Run by dlt's own Python: loads JSON lines; `dlt_script.py FILE DESTINATION CREDENTIALS FORMAT`.

FORMAT is "default", a loader file format, or "arrow": records given as Arrow tables, which dlt
passes on as Parquet without looking at each.
"""

import io
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt  # type: ignore[import-not-found]  # only in dlt's own environment
from pyarrow import json as arrow_json

path, destination, credentials, form, arrow = sys.argv[1:6]


def lines() -> Iterator[tuple[str, bytes]]:
    with Path(path).open("rb") as file:
        for line in file:
            name, _, record = line.partition(b"\t")
            yield name.decode(), record


def tables() -> Iterator[tuple[str, Any]]:
    waiting: dict[str, list[Any]] = defaultdict(list)
    for name, record in lines():
        waiting[name].append(record if arrow == "arrow" else json.loads(record))
    for name, some in waiting.items():
        if arrow == "arrow":
            yield name, [arrow_json.read_json(io.BytesIO(b"".join(some)))]
        else:
            yield name, some


began = time.perf_counter()
resources = [
    dlt.resource(
        data,
        name=name,
        primary_key="id",
        write_disposition="merge",
        columns={"seq": {"dedup_sort": "desc"}},
    )
    for name, data in tables()
]
pipeline = dlt.pipeline(
    "bench",
    destination=getattr(dlt.destinations, destination)(credentials),
    dataset_name="bench",
    progress=None,
)
info = pipeline.run(resources, **({} if form == "default" else {"loader_file_format": form}))
info.raise_on_failed_jobs()
print(time.perf_counter() - began)
