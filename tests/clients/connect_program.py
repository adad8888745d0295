"""Calls the methods of `stitch-connect-client` 0.6.2; it needs `--postgres`.

The client checks answers by the classes of its models, and raises for what does not fit, such as a
destination of the type duckdb.
"""

import asyncio
import os
from importlib import import_module
from typing import Any

from tests.clients.program import ClientProgram


def main() -> None:
    """Make the calls in one event loop, as the client is asynchronous."""
    program = ClientProgram()
    with asyncio.Runner() as runner:
        client: Any = import_module("stitch_connect_client")
        configuration = client.Configuration()
        configuration.access_token = program.asked["token"]
        configuration.ssl_ca_cert = program.asked["authority"]  # it asks no variable for it

        async def make_api() -> Any:
            return client.ApiClient(configuration)

        api = runner.run(make_api())

        def run(name: str, method: Any, *arguments: Any, **more: Any) -> Any:
            async def call() -> Any:
                return await method(*arguments)

            return program.run(name, lambda: runner.run(call()), **more)

        make_calls(client, api, run, program)
        runner.run(api.rest_client.pool_manager.close())
    os._exit(0)  # when it goes, the client closes itself once more, and fails without a loop


def make_calls(client: Any, api: Any, run: Any, program: ClientProgram) -> None:
    """Make the calls."""
    source, stream = str(program.asked["source_id"]), str(program.asked["stream_id"])
    sources, streams = client.SourcesApi(api), client.StreamsApi(api)
    run("get_sources", sources.get_sources)
    run("get_source", sources.get_source, source)
    body = client.CreateSourceBody(display_name="Connect", type="import_api")
    made = run("create_source", sources.create_source, body)
    if made is not None:
        update = client.UpdateSourceBody(display_name="Renamed")
        run("update_source", sources.update_source, str(made.id), update)
        run("delete_source", sources.delete_source, str(made.id))
    run(
        "get_last_connection_check",
        sources.get_last_connection_check,
        source,
        raises="no connection check for source",
    )
    run(
        "start_replication",
        sources.start_replication,
        source,
        raises="Could not create job for client-id",
    )
    run("get_streams", streams.get_streams, source)
    run("get_stream_schema", streams.get_stream_schema, source, stream)
    updates = client.StreamsUpdateList(
        streams=[client.StreamUpdate(tap_stream_id="customers", metadata=[])]
    )
    run(
        "update_stream_metadata",
        streams.update_stream_metadata,
        source,
        updates,
        is_right=lambda found: found is None,  # it reads nothing of the answer
    )
    call_destinations(client, client.DestinationsApi(api), run, program.asked["database"])


def call_destinations(client: Any, destinations: Any, run: Any, body: dict[str, Any]) -> None:
    """Make a destination, change it and delete it, each by the client's own methods.

    The client's class of a destination's properties has none of a PostgreSQL but `database`. So a
    body is given as a dictionary, which the client sends as it is.
    """
    run("get_destination_types", destinations.get_destination_types)
    form = client.DestinationFormProperties(database=body["properties"]["database"])
    run(
        "create_destination, with the class of the client",
        destinations.create_destination,
        client.CreateDestinationBody(type="postgres", properties=form),
        raises="properties do not match schema: host, port, username, password",
    )
    made = run("create_destination", destinations.create_destination, body)
    run("get_destinations", destinations.get_destinations, is_right=lambda found: len(found) == 2)
    if made is None:
        return
    run(
        "update_destination, with the class of the client",
        destinations.update_destination,
        str(made.id),
        form,
        raises="PUT body may only include a map of properties",
    )
    run(
        "update_destination",
        destinations.update_destination,
        str(made.id),
        {"properties": body["properties"]},
    )
    nothing = {"is_right": lambda found: found is None}  # it reads nothing of the answer
    run("delete_destination", destinations.delete_destination, str(made.id), **nothing)
    run(
        "get_destinations, after that",
        destinations.get_destinations,
        is_right=lambda found: len(found) == 1,
    )


if __name__ == "__main__":
    main()
