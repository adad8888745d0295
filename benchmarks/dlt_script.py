"""Run by dlt's own Python: loads JSON lines; `dlt_script.py FILE DESTINATION CREDENTIALS FORMAT`.

FORMAT is "default", a loader file format, or "arrow": records given as Arrow tables, which dlt
passes on as Parquet without looking at each.
"""

import sys
import time
from collections import defaultdict
from pathlib import Path

import dlt

path, destination, credentials, form, arrow = sys.argv[1:6]


def tables():
    import json

    waiting = defaultdict(list)
    with Path(path).open("rb") as lines:
        for line in lines:
            name, _, record = line.partition(b"\t")
            waiting[name.decode()].append(json.loads(record))
    for name, records in waiting.items():
        yield name, records


def arrow_table(lines):
    import io

    from pyarrow import json

    return json.read_json(io.BytesIO(b"".join(lines)))


def from_arrow():
    waiting = defaultdict(list)
    with Path(path).open("rb") as lines:
        for line in lines:
            name, _, record = line.partition(b"\t")
            waiting[name.decode()].append(record)
    for name, some in waiting.items():
        yield name, arrow_table(some)


began = time.perf_counter()
resources = [
    dlt.resource(
        [data] if arrow == "arrow" else data,
        name=name,
        primary_key="id",
        write_disposition="merge",
    )
    for name, data in (from_arrow() if arrow == "arrow" else tables())
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
