"""The fields of a form for a destination, made from its report card, and what is typed into them.

Pure: a card as the API answers it (connect-rest.md A.2.1) -> fields; what is typed -> properties.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

FieldKind = Literal["text", "digits", "flag", "secret", "lines"]

LABELS: Final = {
    "host": ("Host", "A name or an address."),
    "port": (
        "Port",
        "As a rule 5432 for PostgreSQL, 3306 for MySQL, 8123 for ClickHouse, 5439 for Redshift.",
    ),
    "username": ("User", "The role that loads. It needs the right to create schemas."),
    "password": ("Password", ""),
    "database": ("Database", ""),
    "ssl": ("Encrypted with TLS", "Over a network that is not yours alone: yes."),
    "sslrootcert": (
        "Certificate of the authority",
        "PEM text. With it the name of the server is verified.",
    ),
    "path": (
        "File",
        "Inside of the folder for files: shop.duckdb, lake.db of Iceberg, lake.files of Parquet.",
    ),
    "url": ("URL", "With user and password."),
    "catalog": (
        "Kind of catalogue",
        "sql for a file of this server, or rest for a server of its own.",
    ),
    "uri": ("URL of the REST catalogue", "Such as https://catalog.example.com/v1-prefix."),
    "warehouse": (
        "Warehouse",
        "Of Snowflake, or as the REST catalogue of Iceberg calls it, such as s3://lake/.",
    ),
    "role": ("Role", "Of Snowflake; empty for the user's own."),
    "s3_bucket": ("Bucket", "Parquet files are only added to it. Empty for a folder."),
    "output_file_format": ("Format of the files", "parquet."),
    "s3_prefix": ("Prefix", "What the keys of all objects begin with; may be empty."),
    "s3_endpoint": (
        "URL of the object store",
        "Empty for Amazon S3, or where the catalogue says it.",
    ),
    "s3": (
        "Place in S3",
        "A bucket, or bucket/prefix, from where Redshift copies rows. Empty: rows are inserted.",
    ),
    "iam_role": (
        "Role that reads there",
        "Such as arn:aws:iam::123456789012:role/load, or default.",
    ),
    "s3_region": ("Region", ""),
    "s3_access_key_id": ("Access key", "Empty where something else gives credentials."),
    "s3_secret_access_key": ("Secret of the access key", ""),
    "cloud_storage_location": ("Location", "Of the datasets, such as EU or europe-west3."),
    "loading_mode": (
        "Loading mode",
        "UPSERT replaces the row of a key, APPEND_ONLY adds a row for each record. It stays.",
    ),
    "service_account_credentials": (
        "Key of the service account",
        "The text of its JSON file.",
    ),
    "project_id": ("Project", "That of the key, if nothing is here."),
}
"""Name of a property -> its label and a hint."""

HIDDEN_PREFIX: Final = "encryption_"
"""Properties of a way to the database that treadle does not have: their only value is the default.
(connect-rest.md A.2.2)"""

EXPECTED: Final[Mapping[FieldKind, str]] = {
    "text": "This does not fit.",
    "digits": "This is to be a number from 1 to 65535.",
    "flag": "This is to be yes or no.",
    "secret": "This is missing.",
    "lines": "This is to begin with -----BEGIN CERTIFICATE-----.",
}
"""What is said at a field that the API refuses."""

KEPT_SECRET: Final = "Type it again: what is set stays with its place and encryption."  # noqa: S105

FIELD_PREFIX: Final = "property-"


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form.

    Attributes:
        name: of the property.
        kind: how it is typed.
        value: that is shown; empty for a credential, always.
        is_kept: it has a value that stays if nothing is typed, as a password does.
        error: why the value was refused; None where it was not.
    """

    name: str
    label: str
    hint: str
    kind: FieldKind
    is_required: bool
    value: str
    is_kept: bool
    error: str | None = None

    @property
    def key(self) -> str:
        """Return its name in the form."""
        return FIELD_PREFIX + self.name


def list_properties(card: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the properties of a report card that somebody can choose."""
    found: list[Mapping[str, Any]] = [
        each
        for step in card["steps"]
        if step["type"] == "form"
        for each in step["properties"]
        if not each["name"].startswith(HIDDEN_PREFIX)
    ]
    return found


def make_fields(
    card: Mapping[str, Any], values: Mapping[str, str], wrong: Collection[str] = ()
) -> list[FormField]:
    """Return the fields of a report card.

    Args:
        card: of a type, or of a destination.
        values: what is shown in them; a credential is left out, whatever is here.
        wrong: names of properties that were refused.
    """
    return [_make_field(each, values, wrong) for each in list_properties(card)]


def _make_field(
    each: Mapping[str, Any], values: Mapping[str, str], wrong: Collection[str]
) -> FormField:
    name = each["name"]
    kind = choose_kind(each)
    label, hint = LABELS.get(name, (name.replace("_", " ").capitalize(), ""))
    is_secret = bool(each["is_credential"])
    is_kept = is_secret and bool(each["provided"])
    error = None
    if name in wrong:
        error = KEPT_SECRET if is_kept else EXPECTED[kind]
        error = error if is_secret or values.get(name) else "This is missing."
    return FormField(
        name=name,
        label=label,
        hint=hint,
        kind=kind,
        is_required=bool(each["is_required"]),
        value="" if is_secret else values.get(name, ""),
        is_kept=is_kept,
        error=error,
    )


def choose_kind(each: Mapping[str, Any]) -> FieldKind:
    """Return how a property of a report card is typed."""
    schema = each["json_schema"]
    if each["is_credential"]:
        return "secret"
    if any(one.get("type") == "boolean" for one in schema.get("anyOf", ())):
        return "flag"
    pattern = schema.get("pattern", "")
    if pattern == r"^\d+$":
        return "digits"
    return "lines" if "CERTIFICATE" in pattern else "text"


def read_properties(
    card: Mapping[str, Any], form: Mapping[str, str], *, creates: bool
) -> dict[str, str | None]:
    """Return the properties that somebody typed.

    Args:
        card: of the type, or of the destination.
        form: the fields as sent.
        creates: a new destination; otherwise an empty credential stays as it is, and another empty
            property that need not be there is taken away.
    """
    found: dict[str, str | None] = {}
    for each in list_properties(card):
        name = each["name"]
        text = form.get(FIELD_PREFIX + name, "")
        text = text.replace("\r\n", "\n") if choose_kind(each) == "lines" else text
        text = text if each["is_credential"] else text.strip()
        if text:
            found[name] = text
        elif each["is_required"]:
            if creates or not each["is_credential"]:
                found[name] = ""
        elif not creates and not each["is_credential"] and each["provided"]:
            found[name] = None
    return found


def read_typed(form: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed, by the name of the property, to be shown again."""
    return {
        name.removeprefix(FIELD_PREFIX): value.replace("\r\n", "\n")
        for name, value in form.items()
        if name.startswith(FIELD_PREFIX)
    }


def find_wrong_names(message: str, fields: Sequence[FormField]) -> set[str]:
    """Return the properties that a refusal names behind a colon.

    Args:
        message: of the refusal: "properties do not match schema: host, port".
        fields: of the form.
    """
    head, colon, tail = message.partition(":")
    if not colon or "properties" not in head:
        return set()
    known = {one.name for one in fields}
    return {name.strip() for name in tail.split(",")} & known


PHASE_LABELS: Final = {
    "name": "Look up the name",
    "connect": "Connect",
    "TLS": "TLS",
    "log in": "Log in",
    "rights": "Rights",
    "load": "Rehearsed load",
}
ADVICE: Final[Mapping[tuple[str, str], str]] = {
    ("postgres", "name"): "Look at the host: is it typed right, and does the server of treadle "
    "know this name?",
    ("postgres", "connect"): "Is the database running at this host and port, and does a firewall "
    "let the server of treadle through? PostgreSQL listens on a network only with "
    "listen_addresses.",
    ("postgres", "TLS"): "Does the database speak TLS, and is its certificate of the authority "
    "that is given here?",
    ("postgres", "log in"): "Look at user, password and database; and pg_hba.conf of the database "
    "has to let this user in from here.",
    ("postgres", "rights"): "Let the role create schemas: GRANT CREATE ON DATABASE ... TO ...; and "
    "where a schema is there already, it has to belong to that role.",
    ("mysql_destination", "name"): "Look at the host: is it typed right, and does the server of "
    "treadle know this name?",
    ("mysql_destination", "connect"): "Is the database running at this host and port, and does a "
    "firewall let the server of treadle through? MySQL listens on a network only with "
    "bind_address.",
    ("mysql_destination", "TLS"): "Does the database speak TLS, and is its certificate of the "
    "authority that is given here?",
    ("mysql_destination", "log in"): "Look at user and password; and the user has to be one who "
    "may log in from here, such as 'loader'@'%'.",
    ("mysql_destination", "rights"): "Let the user make databases: GRANT ALL ON *.* TO ...; or "
    "GRANT ALL on the database _treadle and on the one of each source.",
    ("clickhouse", "name"): "Look at the host: is it typed right, and does the server of "
    "treadle know this name?",
    ("clickhouse", "connect"): "Is the database running at this host and port, and does a "
    "firewall let the server of treadle through? The port is that of HTTP, 8123, or 8443 with "
    "encryption. ClickHouse listens on a network only with listen_host.",
    ("clickhouse", "TLS"): "Does the database speak TLS at this port, and is its certificate of "
    "the authority that is given here?",
    ("clickhouse", "log in"): "Look at user and password; and the user has to be one who may log "
    "in from here.",
    ("clickhouse", "rights"): "Let the user make databases: GRANT ALL ON *.* TO ...; or GRANT ALL "
    "on the database _treadle and on the one of each source.",
    ("redshift", "name"): "Look at the host: is it the endpoint of the cluster or workgroup, and "
    "does the server of treadle know this name?",
    (
        "redshift",
        "connect",
    ): "Is the cluster running, at this port, and does its security group let "
    "the server of treadle through? It has to be publicly accessible, or in the same network.",
    ("redshift", "TLS"): "Is the certificate of the authority that is given here that of Amazon "
    "Redshift?",
    ("redshift", "log in"): "Look at user, password and database.",
    ("redshift", "rights"): "Let the user create schemas: GRANT CREATE ON DATABASE ... TO ...; "
    "where a schema is there already, it has to belong to that user; and the role has to be one "
    "that the cluster may take, and that may read in the bucket.",
    ("bigquery_v2", "log in"): "Look at the key: is it one of this project, and is its service "
    "account there still? Does a firewall let the server of treadle through to googleapis.com?",
    ("bigquery_v2", "rights"): "Give the service account the role BigQuery User on the project; "
    "on datasets that others made, BigQuery Data Editor.",
    ("snowflake", "name"): "Look at the host: is it that of the account, such as "
    "organisation-account.snowflakecomputing.com?",
    (
        "snowflake",
        "connect",
    ): "Does a firewall let the server of treadle through to the host of the account, port 443?",
    ("snowflake", "log in"): "Look at user, password and role; and a network policy of the account "
    "has to let the server of treadle in. Many accounts take no password of a service: the "
    "operator can give a key.",
    ("snowflake", "rights"): "Let the role make schemas: GRANT CREATE SCHEMA ON DATABASE ... TO "
    "ROLE ...; and give it USAGE on the database and on the warehouse.",
    ("iceberg", "connect"): "Look at the URL of the catalogue, at user and password, and at the "
    "warehouse. A file of a catalogue needs a folder that is there and writable.",
    ("iceberg", "rights"): "Let treadle make namespaces and tables in the catalogue, and read and "
    "write in the warehouse.",
    ("s3", "connect"): "Look at the URL of the object store, the bucket and its region. A folder "
    "needs one above it that is there.",
    ("s3", "rights"): "Let the key list the bucket, and get, put and delete objects in it: "
    "s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject. A folder has to be writable.",
    ("s3", "load"): "The store has to know conditional puts (If-None-Match), as Amazon S3 does.",
    ("duckdb", "connect"): "Is the folder there and writable, and has another program the file "
    "open? Only one can.",
}
"""Type and phase that failed -> what to do."""

OTHER_ADVICE: Final = "Mend what the database says, and check again."


def advise_on_check(type_: str, phases: Sequence[Mapping[str, Any]]) -> str:
    """Return what to do after a check that failed.

    Args:
        type_: of the destination.
        phases: JSON values of `PhaseResult`, in order.
    """
    failed = next((str(each["phase"]) for each in phases if each.get("failed")), "")
    return ADVICE.get((type_, failed), OTHER_ADVICE)
