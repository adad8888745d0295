"""The JSON objects of answers about destinations, keys in the documented order.

(connect-api.md 2.7, 2.8, 3.7, 3.8) Pure functions: what the store knows -> a JSON value.
"""

from collections.abc import Collection

from treadle.control import schemas
from treadle.destinations.form import DestinationForm, FormProperty
from treadle.destinations.service_proof import describe_proof
from treadle.store.model import ConfiguredDestination
from treadle.timestamps import format_seconds


def render_destination_type(form: DestinationForm) -> schemas.DestinationType:
    """Return the card of a type, before a destination exists (connect-rest.md A.2.1).

    A type that treadle was not run on yet is `beta` (connect-api.md 3.5).
    """
    return {
        **render_destination_card(form, ()),
        "details": {
            "pricing_tier": "standard",
            "pipeline_state": "released" if describe_proof(form.type) is None else "beta",
            "protocol": form.type,
            "access": True,
        },
    }


def render_destination_card(
    form: DestinationForm, provided: Collection[str]
) -> schemas.DestinationCard:
    """Return the report card of a destination, or of its type.

    Args:
        form: of its type.
        provided: names of the properties that have a value; none before it exists.
    """
    current = 2 if provided else 1
    steps: list[schemas.DestinationStep] = [
        {
            "type": "form",
            "properties": [
                _render_property(each, provided=each.name in provided) for each in form.properties
            ],
        },
        {"type": "fully_configured", "properties": []},
    ]
    return {
        "type": form.type,
        "current_step": current,
        "current_step_type": steps[current - 1]["type"],
        "steps": steps,
    }


def _render_property(each: FormProperty, *, provided: bool) -> schemas.DestinationDescriptor:
    return {
        "name": each.name,
        "is_required": each.is_required,
        "is_credential": each.is_credential,
        "system_provided": False,
        "property_type": "user_provided",
        "json_schema": dict(each.json_schema),
        "provided": provided,
    }


def render_destination(
    row: ConfiguredDestination, form: DestinationForm, check_job_name: str | None = None
) -> schemas.DestinationAnswer:
    """Return a destination, without its URL and its credentials.

    Args:
        row: the destination.
        form: of its type.
        check_job_name: of its last check; None where none is known.
    """
    found = form.read_url(row.url)
    hidden = {each.name for each in form.properties if each.is_credential}
    last_check: schemas.LastCheck = (
        {} if check_job_name is None else {"check_job_name": check_job_name}
    )
    answer: schemas.DestinationAnswer = {
        "description": row.description,
        "properties": {name: found[name] for name in sorted(found) if name not in hidden},
        "updated_at": format_seconds(row.updated_at),
        **last_check,
        "name": row.name,
        "type": row.type,
        "deleted_at": None if row.deleted_at is None else format_seconds(row.deleted_at),
        "system_paused_at": None,
        "stitch_client_id": row.account_id,
        "paused_at": None,
        "id": row.id,
        "display_name": None,
        "created_at": format_seconds(row.created_at),
        "report_card": render_destination_card(form, found.keys() or {"url"}),
    }
    return answer
