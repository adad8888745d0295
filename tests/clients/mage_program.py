"""Calls what `mage_ai.services.stitch` offers; the start of a job is refused, as documented."""

import sys
import types
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.clients.program import ClientProgram, has_all


def main() -> None:
    """Make the calls."""
    program = ClientProgram()
    # The packages import half of mage when they begin; its client needs nothing of that.
    for name in ("mage_ai", "mage_ai.services", "mage_ai.shared"):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(one) / name.replace(".", "/")) for one in sys.path]
        sys.modules[name] = package
    module: Any = import_module("mage_ai.services.stitch.stitch")
    client = module.StitchClient({"access_token": program.asked["token"]})
    source, account = program.asked["source_id"], program.asked["client_id"]
    program.run("list_sources", client.list_sources)
    program.run("get_source", lambda: client.get_source(source), has_all(["stitch_client_id"]))
    program.run("list_streams", lambda: client.list_streams(source))
    page = has_all(["data", "total"])
    program.run("list_extractions", lambda: client.list_extractions(account), page)
    program.run("list_loads", lambda: client.list_loads(account), page)
    [found] = program.run("list_destinations", client.list_destinations)
    program.run("get_destination", lambda: client.get_destination(found["id"]), has_all(["id"]))
    program.run(
        "start_replication_job",
        lambda: client.start_replication_job(source),
        raises="400 Client Error",
    )


if __name__ == "__main__":
    main()
