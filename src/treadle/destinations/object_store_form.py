"""How URLs and forms of destinations name an object store that speaks S3."""

from collections.abc import Mapping
from typing import Any, Final

from treadle.destinations.form import FormProperty

HTTP_URL: Final[Mapping[str, Any]] = {
    "type": "string",
    "pattern": r"^https?://[^\s/@?#]+[^\s@?#]*$",
}

REGION: Final[Mapping[str, Any]] = {"type": "string", "pattern": r"^[A-Za-z0-9_-]*$"}
"""A region becomes a part of the name of a host, so nothing in it ends that name early."""

S3_PROPERTIES: Final = (
    FormProperty(
        "s3_endpoint",
        is_required=False,
        json_schema=HTTP_URL,
        names_place=True,
        guards_secrets=True,
    ),
    FormProperty("s3_region", is_required=False, json_schema=REGION),
    FormProperty("s3_access_key_id", is_required=False),
    FormProperty("s3_secret_access_key", is_required=False, is_credential=True),
)
"""Where an object store is, and who puts into it."""

S3_PARAMETERS: Final[Mapping[str, str]] = {
    "s3_endpoint": "s3.endpoint",
    "s3_region": "s3.region",
    "s3_access_key_id": "s3.access-key-id",
    "s3_secret_access_key": "s3.secret-access-key",
}
"""Property -> parameter of the URL."""

_OPTIONS: Final[Mapping[str, str]] = {
    "s3.endpoint": "endpoint_override",
    "s3.region": "region",
    "s3.access-key-id": "access_key",
    "s3.secret-access-key": "secret_key",
}
"""Parameter of a URL -> argument of `pyarrow.fs.S3FileSystem`."""


def make_store_options(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments with which `pyarrow.fs.S3FileSystem` opens the store of a URL."""
    return {option: parameters[name] for name, option in _OPTIONS.items() if parameters.get(name)}
