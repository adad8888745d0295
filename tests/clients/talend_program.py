"""Calls what Talend's `stitch-api` 1.0.0 offers; it returns status and body of every call.

Its helpers that delete raise TypeError by themselves, but that of destinations. So its own method
`delete`, which they call, is called with the path.
"""

import functools
from importlib import import_module
from typing import Any

from tests.clients.program import ClientProgram


def is_status(*expected: int) -> Any:
    """Return a judge of what the client returns."""
    return lambda found: found[0] in expected


def has(count: int) -> Any:
    """Return a judge: the answer is a list of so many."""
    return lambda found: found[0] == 200 and len(found[1]) == count


def main() -> None:
    """Make the calls."""
    program = ClientProgram()
    token, source = program.asked["token"], program.asked["source_id"]
    ok = is_status(200)

    def make(module: str, name: str) -> Any:
        return getattr(import_module(f"stitch_api.{module}"), name)(token)

    sources, streams, jobs = (
        make("sources", "Sources"),
        make("streams", "Streams"),
        make("jobs", "Jobs"),
    )
    program.run("fetch_sources", sources.fetch_sources, ok)
    program.run("fetch_source_details", lambda: sources.fetch_source_details(source), ok)
    program.run("fetch_source_tokens", lambda: sources.fetch_source_tokens(source), ok)
    program.run(
        "fetch_source_connection_check",
        lambda: sources.fetch_source_connection_check(source),
        is_status(404),
    )
    made = program.run(
        "create_source",
        lambda: sources.create_source({"type": "import_api", "display_name": "Talend"}),
        ok,
    )
    mine = made[1]["id"]
    program.run("create_source_token", lambda: sources.create_source_token(mine), ok)
    program.run("update_source", lambda: sources.update_source(mine, {"display_name": "T"}), ok)
    program.run("pause_source", lambda: sources.pause_source(mine, {"paused_at": "2026-01-01"}), ok)
    program.run("unpause_source", lambda: sources.unpause_source(mine), ok)
    program.run("fetch_streams", lambda: streams.fetch_streams(source), ok)
    program.run(
        "fetch_schema", lambda: streams.fetch_schema(source, program.asked["stream_id"]), ok
    )
    selection = {"tap_stream_id": "customers", "metadata": []}
    program.run(
        "update_schema", lambda: streams.update_schema(source, {"streams": [selection]}), ok
    )
    program.run("start_job", lambda: jobs.start_job(source), is_status(400))
    program.run("stop_job", lambda: jobs.delete(f"sources/{source}/sync"), ok)
    found = program.run("fetch_source_tokens", lambda: sources.fetch_source_tokens(mine), has(2))
    for one in found[1]:
        path = f"sources/{mine}/tokens/{one['token_id']}"
        program.run("revoke_source_token", functools.partial(sources.delete, path), ok)
    program.run("fetch_source_tokens", lambda: sources.fetch_source_tokens(mine), has(0))
    program.run("delete_source", lambda: sources.delete(f"sources/{mine}"), ok)
    types = make("source_types", "SourceTypes")
    program.run("fetch_source_types", types.fetch_source_types, ok)
    program.run(
        "fetch_source_type_details", lambda: types.fetch_source_type_details("import_api"), ok
    )
    call_destinations(program, make)
    call_notifications(program, make)


def call_destinations(program: ClientProgram, make: Any) -> None:
    """Read the types of destinations; make, read, change and delete a destination."""
    ok = is_status(200)
    types = make("destination_types", "DestinationTypes")
    program.run("fetch_destination_types", types.fetch_destination_types, ok)
    program.run(
        "fetch_destination_type_details",
        lambda: types.fetch_destination_type_details("postgres"),
        ok,
    )
    destinations, body = make("destinations", "Destinations"), program.asked["database"]
    program.run("fetch_destinations", destinations.fetch_destinations, has(1))
    made = program.run("create_destination", lambda: destinations.create_destination(body), ok)
    program.run("fetch_destinations", destinations.fetch_destinations, has(2))
    number = made[1]["id"]
    change = {"properties": body["properties"]}
    program.run("update_destination", lambda: destinations.update_destination(number, change), ok)
    program.run("delete_destination", lambda: destinations.delete_destination(number), ok)
    program.run(
        "delete_destination, again",
        lambda: destinations.delete_destination(number),
        is_status(400),
    )
    program.run("fetch_destinations", destinations.fetch_destinations, has(1))


def call_notifications(program: ClientProgram, make: Any) -> None:
    """Make, read, disable, enable and delete an e-mail address and a hook."""
    ok = is_status(200)
    notifications = make("notifications", "Notifications")
    made = program.run(
        "create_custom_email",
        lambda: notifications.create_custom_email({"email_address": "ann@example.com"}),
        ok,
    )
    program.run("fetch_custom_emails", notifications.fetch_custom_emails, has(1))
    number = made[1]["id"]
    program.run(
        "disable_custom_email",
        lambda: notifications.disable_custom_email(number, {"disabled_at": "2026-01-01"}),
        ok,
    )
    program.run("re_enable_custom_email", lambda: notifications.re_enable_custom_email(number), ok)
    program.run(
        "delete_custom_email",
        lambda: notifications.delete(f"custom-emails/{number}"),
        lambda found: found == (200, [1]),
    )
    program.run("fetch_custom_emails", notifications.fetch_custom_emails, has(0))
    hook = {"type": "post_load", "config": {"url": "https://hooks.example.com/loaded"}}
    made = program.run("create_webhook", lambda: notifications.create_webhook(hook), ok)
    program.run(
        "fetch_webhooks",
        notifications.fetch_webhooks,
        lambda found: len(found[1]["post_load"]) == 1,
    )
    number = made[1]["id"]
    program.run("disable_webhook", lambda: notifications.disable_webhook(number), ok)
    program.run("re_enable_webhook", lambda: notifications.re_enable_webhook(number), ok)
    program.run(
        "delete_webhook",
        lambda: notifications.delete(f"hooks/{number}"),
        lambda found: found == (200, None),
    )


if __name__ == "__main__":
    main()
