"""The form of a BigQuery destination: properties, and its URL (connect-api.md 2.7)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from treadle.destinations.form import FormProperty, PropertiesRefusedError
from treadle.destinations.server_form import ServerUrl

UPSERT: Final = "UPSERT"
APPEND_ONLY: Final = "APPEND_ONLY"

TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - where tokens are had
"""Where a service account gets tokens, whatever its key says."""

KEY_FIELDS: Final = ("client_email", "private_key", "private_key_id", "project_id")
"""Of the key file of a service account, those that are kept, with `type`."""

_LOCATION: Final[Mapping[str, Any]] = {"type": "string", "pattern": r"^[A-Za-z0-9-]+$"}
_MODE: Final[Mapping[str, Any]] = {"type": "string", "pattern": f"^({UPSERT}|{APPEND_ONLY})$"}
_KEY: Final[Mapping[str, Any]] = {"anyOf": [{"type": "object"}, {"type": "string"}]}
_PROJECT: Final = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")

BigqueryUrl = ServerUrl
"""The host of the URL is the project."""


def fits_project(text: str) -> bool:
    """Return whether a text can be the id of a project."""
    return _PROJECT.fullmatch(text) is not None


def read_key(text: str) -> str:
    """Return what is kept of the key file of a service account, as JSON.

    Raises:
        ValueError: it is none.
    """
    key = json.loads(text)
    if not isinstance(key, dict) or key.get("type") != "service_account":
        raise ValueError("it is not the key of a service account")
    kept = {name: key.get(name) for name in KEY_FIELDS}
    if not all(isinstance(value, str) and value for value in kept.values()):
        raise ValueError("a field is missing")
    if not fits_project(str(kept["project_id"])):
        raise ValueError("the project is none")
    return json.dumps({"type": "service_account", **kept})


@dataclass(frozen=True, slots=True)
class BigqueryForm:
    """The form of the type `bigquery_v2`."""

    type: str = "bigquery_v2"
    properties: tuple[FormProperty, ...] = (
        FormProperty("cloud_storage_location", json_schema=_LOCATION),
        FormProperty("loading_mode", json_schema=_MODE),
        FormProperty("service_account_credentials", is_credential=True, json_schema=_KEY),
        FormProperty("project_id", is_required=False),
    )

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties of a URL. The path of a key file is none of them."""
        parts = BigqueryUrl.parse(url)
        key = parts.parameters.get("credentials", "")
        found = {
            "cloud_storage_location": parts.parameters.get("location", "US"),
            "loading_mode": parts.parameters.get("loading_mode", UPSERT),
            "service_account_credentials": key if key.lstrip().startswith("{") else "",
            "project_id": parts.host,
        }
        return {name: value for name, value in found.items() if value}

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties, with what no property says of the former one.

        Raises:
            PropertiesRefusedError: the key is none, or is one of another project, or the loading
                mode is another one than before.
        """
        before = ServerUrl() if former is None else BigqueryUrl.parse(former)
        if former is not None:
            old = self.read_url(former)
            if properties.get("loading_mode") != old["loading_mode"]:
                raise PropertiesRefusedError(("loading_mode",))
        parameters = dict(before.parameters)
        project = before.host
        if "service_account_credentials" in properties:
            try:
                key = read_key(properties["service_account_credentials"])
            except ValueError as error:
                raise PropertiesRefusedError(("service_account_credentials",)) from error
            parameters["credentials"] = key
            project = str(json.loads(key)["project_id"])
        if properties.get("project_id", project) != project:
            raise PropertiesRefusedError(("project_id",))
        parameters["location"] = properties["cloud_storage_location"]
        parameters["loading_mode"] = properties["loading_mode"]
        return ServerUrl(host=project, parameters=parameters).format("bigquery")
