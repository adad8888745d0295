"""The form of files in a bucket or a folder: properties, and its URL (connect-rest.md A.2.2).

Its type is `s3`, as Stitch's: properties of the same name mean the same. treadle writes Parquet and
names the objects itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from treadle.destinations.duckdb_form import FOLDER_END
from treadle.destinations.form import FormProperty, PathRefusedError, PropertiesRefusedError
from treadle.destinations.object_store_form import S3_PROPERTIES
from treadle.destinations.store_url import StoreUrl

FOLDER_SCHEME: Final = "files"
BUCKET_SCHEME: Final = "files+s3"

AMAZON_HOST: Final = "s3.{region}.amazonaws.com"
DEFAULT_REGION: Final = "us-east-1"

_BUCKET: Final[Mapping[str, Any]] = {
    "type": "string",
    "pattern": r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
}
_FORMAT: Final[Mapping[str, Any]] = {"type": "string", "pattern": "^parquet$"}
_PREFIX: Final[Mapping[str, Any]] = {"type": "string", "pattern": r"^[A-Za-z0-9!_.*'()/-]{1,60}$"}
# One folder with an ending of its own: it is in no other one, and none that treadle has.
_FOLDER: Final[Mapping[str, Any]] = {"type": "string", "pattern": r"^[^/?\\#%]+\.files$"}


class FilesUrl(StoreUrl):
    """The parts of a URL of files, not escaped."""

    @property
    def bucket(self) -> str:
        """The bucket; empty for a folder."""
        return self.path.partition("/")[0]

    @property
    def prefix(self) -> str:
        """What keys begin with in the bucket, without slashes around it; may be empty."""
        return self.path.partition("/")[2].strip("/")


@dataclass(frozen=True, slots=True)
class FilesForm:
    """The form of the type `s3`.

    An account names a bucket with a key, or a folder inside of the operator's.

    Attributes:
        folder: that paths are relative to; absolute.
    """

    folder: Path
    type: str = "s3"
    properties: tuple[FormProperty, ...] = (
        FormProperty("s3_bucket", is_required=False, json_schema=_BUCKET),
        FormProperty("output_file_format", json_schema=_FORMAT, default="parquet"),
        FormProperty("s3_prefix", is_required=False, json_schema=_PREFIX),
        *S3_PROPERTIES,
        FormProperty("path", is_required=False, json_schema=_FOLDER, names_place=True),
    )

    def read_url(self, url: str) -> dict[str, str]:
        """Return the properties of a URL. Of a folder elsewhere it is the name alone."""
        parts = FilesUrl.parse(url)
        if parts.scheme == FOLDER_SCHEME:
            head, end, tail = parts.path.partition(FOLDER_END)
            whole = Path(head)
            inside = whole.is_relative_to(self.folder)
            name = str(whole.relative_to(self.folder)) if inside else whole.name
            return {"output_file_format": "parquet", "path": tail if end else name}
        region = parts.parameters.get("region")
        place = parts.http_url.removesuffix(f"/{parts.path}")
        is_amazon = place == "https://" + AMAZON_HOST.format(region=region or DEFAULT_REGION)
        found = {
            "s3_bucket": parts.bucket,
            "output_file_format": "parquet",
            "s3_prefix": parts.prefix,
            "s3_endpoint": "" if is_amazon else place,
            "s3_region": region,
            "s3_access_key_id": parts.user,
            "s3_secret_access_key": parts.password,
        }
        return {name: value for name, value in found.items() if value}

    def write_url(self, properties: Mapping[str, str], former: str | None) -> str:
        """Return the URL of properties, with the other parameters of the former one.

        Raises:
            PathRefusedError: the path leads out of the folder.
            PropertiesRefusedError: neither a bucket nor a folder is named, or both; or the endpoint
                has a path.
        """
        if bool(properties.get("path")) == bool(properties.get("s3_bucket")):
            raise PropertiesRefusedError(("s3_bucket",))
        if properties.get("path"):
            path = properties["path"]
            if "/" in path or not path.endswith(".files"):
                raise PathRefusedError
            return FilesUrl(FOLDER_SCHEME, path=f"{self.folder}{FOLDER_END}{path}").format()
        return self._write_bucket(properties, former)

    def _write_bucket(self, properties: Mapping[str, str], former: str | None) -> str:
        pair = ("s3_access_key_id", "s3_secret_access_key")
        if missing := tuple(name for name in pair if not properties.get(name)):
            raise PropertiesRefusedError(missing)
        region = properties.get("s3_region")
        amazon = "https://" + AMAZON_HOST.format(region=region or DEFAULT_REGION)
        scheme, _, place = (properties.get("s3_endpoint") or amazon).partition("://")
        server = FilesUrl.parse(f"{BUCKET_SCHEME}://{place.rstrip('/')}")
        if server.path:
            raise PropertiesRefusedError(("s3_endpoint",))
        parameters: dict[str, str] = {}
        if former is not None and FilesUrl.parse(former).scheme == BUCKET_SCHEME:
            parameters |= FilesUrl.parse(former).parameters
            if properties.get("s3_endpoint") != self.read_url(former).get("s3_endpoint"):
                parameters.pop("session-token", None)  # a secret of the former store
        for name in ("tls", "region"):
            parameters.pop(name, None)
        if scheme == "http":
            parameters["tls"] = "false"
        if region:
            parameters["region"] = region
        prefix = properties.get("s3_prefix", "").strip("/")
        return FilesUrl(
            BUCKET_SCHEME,
            server.host,
            server.port,
            properties["s3_access_key_id"],
            properties["s3_secret_access_key"],
            properties["s3_bucket"] + (f"/{prefix}" if prefix else ""),
            parameters,
        ).format()
