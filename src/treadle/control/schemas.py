"""The types of bodies and answers (connect-api.md 3). The OpenAPI document is made from them.

They are dictionaries, because the order of their keys is part of the answer; the functions of
`responses` and `errors` fill them.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired, TypeVar

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.records.webhook_provider import PROVIDERS

T = TypeVar("T")


def component(name: str) -> Callable[[type[T]], type[T]]:
    """Name a type in the OpenAPI document: generated clients have classes of these names."""

    def name_component(described: type[T]) -> type[T]:
        described.__name__ = described.__qualname__ = name
        return described

    return name_component


Id = Annotated[int, Field(ge=1)]
Instant = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
        description="ISO 8601, UTC, whole seconds",
        examples=["2019-02-05T16:44:55Z"],
    ),
]


@component("Descriptor")
class PropertyDescriptor(TypedDict):
    """A property that a step asks for; one that is `read_only` is never to be filled in."""

    name: str
    is_required: bool
    is_credential: bool
    system_provided: bool
    property_type: str
    json_schema: dict[str, Any]
    provided: Annotated[bool, Field(description="whether it has a value")]
    tap_mutable: bool


@component("Step")
class ConfigurationStep(TypedDict):
    """A step of a source's configuration."""

    type: Literal["form", "fully_configured"]
    properties: list[PropertyDescriptor]


class ReportCard(TypedDict):
    """How far a source is configured."""

    type: str
    current_step: Annotated[int, Field(ge=1, description="position in `steps`, the first is 1")]
    current_step_type: Literal["form", "fully_configured"]
    steps: list[ConfigurationStep]


@component("Details")
class SourceTypeDetails(TypedDict):
    """What a source type is."""

    pricing_tier: str
    pipeline_state: str
    default_start_date: str
    default_scheduling_interval: int
    protocol: str
    access: bool
    image_version: str


class SourceType(ReportCard):
    """The report card of a type, before a source exists."""

    details: SourceTypeDetails
    upgrade_available: None


@component("DestinationProperty")
class DestinationDescriptor(TypedDict):
    """A property of a destination."""

    name: str
    is_required: bool
    is_credential: Annotated[bool, Field(description="it is never shown")]
    system_provided: bool
    property_type: str
    json_schema: dict[str, Any]
    provided: Annotated[bool, Field(description="whether it has a value")]


class DestinationStep(TypedDict):
    """A step of a destination's configuration."""

    type: Literal["form", "fully_configured"]
    properties: list[DestinationDescriptor]


class DestinationCard(TypedDict):
    """How far a destination is configured."""

    type: str
    current_step: Annotated[int, Field(ge=1, description="position in `steps`, the first is 1")]
    current_step_type: Literal["form", "fully_configured"]
    steps: list[DestinationStep]


class DestinationTypeDetails(TypedDict):
    """What a type of destination is."""

    pricing_tier: str
    pipeline_state: str
    protocol: str
    access: bool


class DestinationType(DestinationCard):
    """The report card of a type, before a destination exists."""

    details: DestinationTypeDetails


class LastCheck(TypedDict):
    """The last check of a destination; absent before the first one."""

    check_job_name: NotRequired[Annotated[str, Field(description="of its last check")]]


@component("Destination")
class DestinationAnswer(TypedDict):
    """A database that rows are loaded into."""

    description: str | None
    properties: Annotated[dict[str, str], Field(description="without credentials")]
    updated_at: Instant
    check_job_name: NotRequired[Annotated[str, Field(description="of its last check")]]
    name: str
    type: Annotated[str, Field(description="never changes")]
    deleted_at: Instant | None
    system_paused_at: Instant | None
    stitch_client_id: Annotated[Id, Field(description="the account")]
    paused_at: Instant | None
    id: Id
    display_name: None
    created_at: Instant
    report_card: DestinationCard


@with_config(ConfigDict(extra="forbid"))
class CreateDestination(TypedDict):
    """A destination to be created."""

    type: Annotated[str, Field(min_length=1, description="one of the destination types")]
    properties: Annotated[dict[str, Any], Field(description="as the card of the type says")]
    name: NotRequired[Annotated[str | None, Field(min_length=1, max_length=255)]]
    description: NotRequired[Annotated[str | None, Field(max_length=2000)]]
    ignore_unmapped_sources: NotRequired[
        Annotated[bool, Field(description="true: no source loads into it by itself")]
    ]


@with_config(ConfigDict(extra="forbid"))
class UpdateDestination(TypedDict):
    """The properties that are to change; what is left out stays."""

    properties: Annotated[
        dict[str, Any], Field(description="null takes away one that is not required")
    ]


@component("Nothing")
@with_config(ConfigDict(extra="forbid"))
class NothingAnswer(TypedDict):
    """It was done, and there is nothing to say of it."""


@component("Properties")
class SourceProperties(TypedDict):
    """The values of a source's properties."""

    token: NotRequired[
        Annotated[
            dict[str, str],
            Field(
                description="active Import API access tokens by their id, the oldest first; "
                "absent where tokens are shown once"
            ),
        ]
    ]


@component("Source")
class SourceAnswer(TypedDict):
    """Something that may push records; its name is the schema they are loaded into."""

    properties: SourceProperties
    updated_at: Annotated[Instant, Field(description="any change, also of tokens")]
    schedule: Annotated[None, Field(description="pushed sources have none")]
    check_job_name: Annotated[None, Field(description="pushed sources have none")]
    name: Annotated[str, Field(description="the schema in the destination; never changes")]
    type: str
    deleted_at: Instant | None
    system_paused_at: Instant | None
    stitch_client_id: Annotated[Id, Field(description="the account; `client_id` in pushes")]
    paused_at: Annotated[Instant | None, Field(description="set: pushes are refused")]
    id: Id
    display_name: Annotated[str, Field(description="a label; may change")]
    created_at: Instant
    report_card: ReportCard


class NewToken(TypedDict):
    """A token that was just made."""

    id: Id
    access_token: Annotated[str, Field(description="the secret that pushes carry")]
    connection: NotRequired[
        Annotated[SourceAnswer, Field(description="the source; absent where tokens are shown once")]
    ]


class ListedToken(TypedDict):
    """An active token; its value is not shown."""

    token_id: Id
    created_at: Instant


@component("Signature")
class SignatureAnswer(TypedDict):
    """The scheme by which the sender of a webhook signs; its secret is not shown."""

    scheme: str
    header: Annotated[str | None, Field(description="of a plain signature")]
    encoding: Annotated[str, Field(json_schema_extra={"enum": ["hex", "base64"]})]


@component("Token")
class TokenAnswer(TypedDict):
    """A token of any kind, without its value."""

    id: Id
    kind: Annotated[str, Field(json_schema_extra={"enum": ["account", "import", "webhook"]})]
    source_id: Annotated[Id | None, Field(description="null for an account token")]
    last_four: Annotated[str, Field(description="the last characters of its value")]
    description: str
    tables: Annotated[
        list[str], Field(description="the only tables of a webhook token; none: that of its source")
    ]
    signature: SignatureAnswer | None
    active: Annotated[bool, Field(description="neither revoked, expired nor disabled")]
    created_at: Instant
    created_by: Annotated[str | None, Field(description="who made it, where that is known")]
    first_used_at: Instant | None
    last_used_at: Annotated[Instant | None, Field(description="written every few seconds")]
    last_used_from: Annotated[str | None, Field(description="the address of a client")]
    uses: Annotated[int, Field(ge=0)]
    expires_at: Annotated[Instant | None, Field(description="refused from then on; null for never")]
    revoked_at: Instant | None
    disabled_at: Annotated[
        Instant | None, Field(description="of an account token: refused until it is enabled")
    ]
    refused: Annotated[int, Field(ge=0, description="requests that had it after its end")]
    refused_at: Annotated[Instant | None, Field(description="the last of them")]


@component("Verdict")
class VerdictAnswer(TypedDict):
    """Whether a token can be revoked without a refused request."""

    verdict: Literal["safe_to_revoke", "in_use", "only_token", "never_used", "ended"]
    text: Annotated[str, Field(description="a sentence for people")]


@component("TokenWithUses")
class TokenWithUses(TokenAnswer):
    """A token with its uses."""

    hourly_uses: Annotated[
        list[int],
        Field(description="of the last 168 hours (UTC), the present one last; written every 5 s"),
    ]
    verdict: VerdictAnswer


class MadeToken(TokenAnswer):
    """A token that was just made, with its value."""

    access_token: Annotated[str, Field(description="shown this once")]
    path: Annotated[str | None, Field(description="of a webhook token: the path of its URL")]


@component("Tokens")
class TokenList(TypedDict):
    """Tokens, by id."""

    tokens: list[TokenWithUses]


@component("AccountTokens")
class AccountTokenList(TypedDict):
    """Account tokens, by id."""

    account_tokens: list[TokenWithUses]


ProviderName = Annotated[str, Field(json_schema_extra={"enum": list(PROVIDERS)})]


@component("Webhook")
class WebhookAnswer(TypedDict):
    """The settings of the webhook of a source."""

    table: Annotated[str, Field(description="that records go to")]
    key: Annotated[
        list[str],
        Field(description="fields, and headers as `header:NAME`, that a record must have"),
    ]
    upsert: Annotated[
        bool, Field(description="records that come with an import token replace earlier ones")
    ]
    import_tokens: Annotated[
        bool, Field(description="import tokens of the source work in its webhook's URL")
    ]
    provider: Annotated[
        ProviderName | None,
        Field(description="who sends; its event id is the key of the rows, or `key` where set"),
    ]


@with_config(ConfigDict(extra="forbid"))
class SenderSecret(TypedDict):
    """The scheme and the secret by which the sender of a webhook signs."""

    scheme: Literal["github", "stripe", "segment", "plain"]
    secret: Annotated[str, Field(min_length=8, max_length=512)]
    header: NotRequired[
        Annotated[str, Field(description="of a plain signature; X-Signature-256 by default")]
    ]
    encoding: NotRequired[Literal["hex", "base64"]]


@with_config(ConfigDict(extra="forbid"))
class CreateToken(TypedDict):
    """A token to be made."""

    kind: Literal["account", "import", "webhook"]
    source_id: NotRequired[Annotated[Id | None, Field(description="of import and webhook tokens")]]
    description: NotRequired[Annotated[str, Field(max_length=255)]]
    expires_at: NotRequired[Annotated[str | None, Field(json_schema_extra={"format": "date-time"})]]
    tables: NotRequired[
        Annotated[
            list[str],
            Field(
                max_length=100,
                description="the only tables of a webhook token; none: that of its source",
            ),
        ]
    ]
    signature: NotRequired[SenderSecret | None]


@with_config(ConfigDict(extra="forbid"))
class ChangeToken(TypedDict, total=False):
    """The note of a token, and from when it is refused; what is left out stays."""

    description: Annotated[str, Field(max_length=255)]
    expires_at: Annotated[
        str | None,
        Field(description="null for never", json_schema_extra={"format": "date-time"}),
    ]


@with_config(ConfigDict(extra="forbid"))
class CreateAccountToken(TypedDict, total=False):
    """What an account token is for, and from when it is refused."""

    description: Annotated[str, Field(max_length=255)]
    expires_at: Annotated[
        str | None,
        Field(description="null for never", json_schema_extra={"format": "date-time"}),
    ]


@with_config(ConfigDict(extra="forbid"))
class ChangeAccountToken(TypedDict, total=False):
    """Whether an account token is refused, and its note; what is left out stays."""

    disabled: bool
    description: Annotated[str, Field(max_length=255)]


@with_config(ConfigDict(extra="forbid"))
class ReplaceToken(TypedDict):
    """The time in which a token and its successor are both valid."""

    overlap_seconds: NotRequired[
        Annotated[int, Field(ge=0, le=31_622_400, description="0 ends the old one at once")]
    ]


@with_config(ConfigDict(extra="forbid"))
class ChangeWebhook(TypedDict):
    """New settings of a webhook. A setting that is left out stays as it is."""

    table: NotRequired[Annotated[str, Field(min_length=1)]]
    key: NotRequired[Annotated[list[str], Field(max_length=20)]]
    upsert: NotRequired[bool]
    import_tokens: NotRequired[bool]
    provider: NotRequired[ProviderName | None]


@component("CustomEmail")
class CustomEmailAnswer(TypedDict):
    """An address that is told of the problems of an account by mail."""

    id: Id
    client_id: Annotated[Id, Field(description="the account")]
    email_address: str
    created_at: Instant
    disabled_at: Annotated[Instant | None, Field(description="set: it gets nothing")]


@component("Disabled")
class DisabledAnswer(TypedDict):
    """Whether a custom e-mail is disabled now."""

    disabled_at: Instant | None


@component("InvalidDisabled")
class InvalidDisabledAnswer(TypedDict):
    """The value that was sent and is no time; empty where none was sent."""

    disabled_at: str


class InvalidAddress(TypedDict):
    """What an address has to be."""

    email_address: str


class EmailRefusal(TypedDict):
    """Why an address was not added."""

    message: str | InvalidAddress


class EmailRefusalAnswer(TypedDict):
    """An address that was not added."""

    error: EmailRefusal


DeletedCount = Annotated[list[Literal[1]], Field(min_length=1, max_length=1)]
"""The number of deleted custom e-mails, in a list."""


@component("MailTrial")
class MailTrialAnswer(TypedDict):
    """How a mail that was sent on trial ended."""

    id: Annotated[Id, Field(description="of the custom e-mail")]
    sent: Annotated[bool, Field(description="the mail server took it")]
    error: Annotated[str | None, Field(description="why it did not, in its words")]
    took_ms: Annotated[int, Field(ge=0)]


class CreateCustomEmail(TypedDict):
    """An address to be added."""

    email_address: Annotated[
        str, Field(max_length=254, description="with one @ and a dot behind it")
    ]


class ChangeCustomEmail(TypedDict):
    """Whether an address is disabled."""

    disabled_at: Annotated[
        str | None,
        Field(
            description="any ISO 8601 instant disables it now and is kept; null enables it",
            json_schema_extra={"format": "date-time"},
        ),
    ]


@component("Notification")
class LoadNotification(TypedDict):
    """Why loading a table fails."""

    message: str
    exception_message: str
    warehouse_error_code: int | None
    error: str
    new_column: str | None
    status: str
    warehouse_sql_state: str | None
    action: str
    warehouse_message: str
    column: str | None


# Made by call, because `class` is no attribute's name.
Link = TypedDict("Link", {"class": str, "message": str, "chain_sequence_num": int, "action": str})


class ErrorState(TypedDict):
    """Why loading a table fails, and what that came from."""

    notification_data: LoadNotification
    exception_chain: list[Link]


@component("Load")
class TableLoad(TypedDict):
    """The last load of one table."""

    stitch_client_id: Id
    source_name: Annotated[str, Field(description="the source's `name`")]
    stream_name: Annotated[str, Field(description="the table's name as pushed")]
    last_batch_loaded_at: Annotated[Instant | None, Field(description="null while in error")]
    error_state: ErrorState | None


@component("Links")
class PageLinks(TypedDict):
    """Neighbouring pages, relative to the host."""

    next: NotRequired[str]
    previous: NotRequired[str]


@component("Loads")
class LoadPage(TypedDict):
    """A page of loads."""

    data: list[TableLoad]
    page: Annotated[int, Field(ge=1)]
    total: Annotated[int, Field(ge=0, description="rows of all pages")]
    links: PageLinks


@component("Extractions")
class ExtractionPage(TypedDict):
    """A page of extractions; pushed sources have none."""

    data: Annotated[list[dict[str, Any]], Field(max_length=0)]
    page: Annotated[int, Field(ge=1)]
    total: Literal[0]
    links: PageLinks


class EphemeralToken(TypedDict):
    """A token for one sign-in to the console."""

    ephemeral_token: Annotated[str, Field(description="shown this once; one use within an hour")]


class MadeAccount(TypedDict):
    """An account that was just made."""

    access_token: Annotated[str, Field(description="its first account token, shown this once")]
    stitch_account_id: Annotated[Id, Field(description="its id, elsewhere `stitch_client_id`")]


@component("Form")
class FormAnswer(TypedDict):
    """Why no account was made."""

    code: Literal["BadRequest", "ExistingUser", "TooManyRequests"]
    message: str
    errors: NotRequired[
        Annotated[dict[str, str], Field(description="fields that are missing or not right")]
    ]


class CreateAccount(TypedDict):
    """An account to be made, and who asks for it."""

    partner_id: str
    partner_secret: str
    company: Annotated[
        str, Field(min_length=1, max_length=255, description="the name of the account")
    ]
    email: Annotated[str, Field(min_length=6, max_length=254, description="of its owner")]
    first_name: Annotated[str, Field(min_length=1, max_length=255)]
    last_name: Annotated[str, Field(min_length=1, max_length=255)]
    region: NotRequired[
        Annotated[Literal["us-east-1", "eu-central-1"], Field(description="is kept, no more")]
    ]


@component("Stream")
class StreamAnswer(TypedDict):
    """A table that a source pushed."""

    selected: Literal[True]
    stream_id: Id
    tap_stream_id: Annotated[str, Field(description="the table's name as pushed")]
    stream_name: Annotated[str, Field(description="the same")]
    metadata: Annotated[
        dict[str, Any], Field(description="`selected`, and the key in `table-key-properties`")
    ]


class StreamPart(TypedDict):
    """Metadata of a table, or of one of its fields."""

    breadcrumb: Annotated[list[str], Field(description="empty for the table")]
    metadata: dict[str, Any]


# Made by call, because a name with hyphens is no attribute's name.
StreamSchema = TypedDict(
    "StreamSchema",
    {
        "schema": Annotated[str, Field(description="a JSON schema, as text")],
        "metadata": list[StreamPart],
        "non-discoverable-metadata-keys": Annotated[
            list[str], Field(max_length=0, description="nothing can be set")
        ],
    },
)


@component("Done")
class DoneAnswer(TypedDict):
    """It was done."""

    status: Literal[200]


@component("Unauthorized")
class UnauthorizedAnswer(TypedDict):
    """No valid account token."""

    message: Literal["Not Authorized"]


@component("NoRoute")
class NoRouteAnswer(TypedDict):
    """Nothing is there."""

    status: Literal["NOT FOUND"]


@component("Message")
class MessageAnswer(TypedDict):
    """What was wrong."""

    message: str


@component("Coded")
class CodedAnswer(TypedDict):
    """An error with a code."""

    error: str
    data: MessageAnswer


class BadProperties(TypedDict):
    """Which properties were wrong."""

    message: str
    bad_properties: list[str]
    report_card: ReportCard


class CodedProperties(TypedDict):
    """Properties that cannot be set."""

    error: Literal["InvalidProperties"]
    data: BadProperties


class JobMessage(TypedDict):
    """Why there is no job."""

    type: Literal["invalid_source", "generic"]
    message: str


@component("JobError")
class JobErrorAnswer(TypedDict):
    """No job was started or stopped."""

    error: JobMessage


class InvalidFields(TypedDict):
    """Streams that do not exist, or what of them cannot be changed."""

    invalid_fields: str


@with_config(ConfigDict(extra="forbid"))
class CreateSource(TypedDict):
    """A source to be created."""

    type: Literal["import_api"]
    display_name: Annotated[
        str, Field(min_length=1, max_length=255, description="a label, gives the name")
    ]
    properties: NotRequired[
        Annotated[dict[str, str], Field(max_length=0, description="nothing can be set")]
    ]
    destination_id: NotRequired[
        Annotated[int | None, Field(description="where to load to; the account's default")]
    ]
    name: NotRequired[
        Annotated[
            str,
            Field(pattern=r"^[a-z_][a-z0-9_$]{0,48}$", description="in place of the derived one"),
        ]
    ]


@with_config(ConfigDict(extra="forbid"))
class UpdateSource(TypedDict):
    """What is to change; what is left out stays."""

    display_name: NotRequired[Annotated[str, Field(min_length=1, max_length=255)]]
    properties: NotRequired[
        Annotated[dict[str, str], Field(max_length=0, description="nothing can be set")]
    ]
    paused_at: NotRequired[
        Annotated[
            str | None,
            Field(
                description="any ISO 8601 instant pauses now and is kept; null unpauses",
                json_schema_extra={"format": "date-time"},
            ),
        ]
    ]
    destination_id: NotRequired[
        Annotated[int | None, Field(description="where to load to; null for the default")]
    ]


class StreamMetadata(TypedDict):
    """What is to be selected of one stream."""

    breadcrumb: list[str]
    metadata: dict[str, Any]


class StreamSelection(TypedDict):
    """One stream."""

    tap_stream_id: str
    metadata: list[StreamMetadata]


class SelectStreams(TypedDict):
    """Streams to be selected."""

    streams: list[StreamSelection]
