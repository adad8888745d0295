"""Parses requests about rejected records into values, or refuses them."""

from dataclasses import dataclass
from typing import Final

import msgspec

from treadle.control import errors
from treadle.control.lookups import parse_id
from treadle.control.times import instant
from treadle.errors import OperatorError
from treadle.records.edit import RecordEdit
from treadle.store.rejects import RejectQuery
from treadle.tables.rejection_reason import RejectionCode
from treadle.tracking.rejects import RejectPlace, parse_reject_id

PAGE_ROWS_MAX: Final = 100

RESEND_IDS_MAX: Final = 1_000
"""Rejected records that one request names; a filter chooses any number."""

PREVIEW_RECORDS: Final = 20

_BOOLEANS: Final = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True)
class AskedFilter:
    """The parameters of a query that choose rejected records; None for one that is not given."""

    source: str | None = None
    table: str | None = None
    cause: str | None = None
    code: str | None = None
    field: str | None = None
    since: str | None = None
    until: str | None = None
    open: str | None = None


class FilterBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The choice of records in the body of `POST /v1/rejects/resend`."""

    source_id: int | None = None
    table: str | None = None
    cause_id: int | None = None
    code: str | None = None
    field: str | None = None
    since: str | None = None
    until: str | None = None


class EditBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The edit in the body of `POST /v1/rejects/resend`."""

    set: dict[str, msgspec.Raw] = {}
    unset: tuple[str, ...] = ()
    record: str | None = None


class ResendBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/rejects/resend`."""

    expected: int | None = None
    filter: FilterBody | None = None
    ids: tuple[str, ...] | None = None
    edit: EditBody = EditBody()


@dataclass(frozen=True, slots=True)
class ResendRequest:
    """A resend that a client asks for.

    Attributes:
        edit: of every record.
        expected: how many records the client expects; None where a preview does not say.
        query: which records, open ones only; None where `ids` names them.
        ids: of the records, without repetition.
    """

    edit: RecordEdit
    expected: int | None
    query: RejectQuery | None
    ids: tuple[str, ...]


def parse_resend(raw: bytes, account_id: int, *, preview: bool) -> ResendRequest:
    """Parse the body of `POST /v1/rejects/resend`.

    Args:
        raw: the body.
        account_id: whose records are meant.
        preview: nothing is to be sent.

    Raises:
        RequestRefusedError: 400, with what was expected.
    """
    try:
        body = msgspec.json.decode(raw, type=ResendBody)
    except (ValueError, RecursionError) as error:  # bytes that are not UTF-8 are a ValueError, too
        raise errors.invalid_reject_request(f"the body does not fit: {error}") from error
    if (body.filter is None) == (body.ids is None):
        raise errors.invalid_reject_request("the body has either a filter or ids")
    if body.expected is None and not preview:
        raise errors.invalid_reject_request("expected is the number of records that you mean")
    ids = tuple(dict.fromkeys(body.ids or ()))
    if len(ids) > RESEND_IDS_MAX:
        raise errors.invalid_reject_request(
            f"ids are {RESEND_IDS_MAX} at most; a filter chooses more"
        )
    if body.edit.record is not None and len(ids) != 1:
        raise errors.invalid_reject_request("record replaces one record, which ids names")
    query = None
    if body.filter is not None:
        asked = body.filter
        query = RejectQuery(
            account_id=account_id,
            source_id=asked.source_id,
            table_name=asked.table,
            cause_id=asked.cause_id,
            code=parse_code(asked.code),
            field=asked.field,
            since=_parse_time("since", asked.since),
            until=_parse_time("until", asked.until),
            open_only=True,
        )
    edit = RecordEdit(
        None if body.edit.record is None else body.edit.record.encode("utf-8", "replace"),
        {name: bytes(text) for name, text in body.edit.set.items()},
        frozenset(body.edit.unset),
    )
    return ResendRequest(edit, body.expected, query, ids)


def parse_filter(asked: AskedFilter, account_id: int) -> RejectQuery:
    """Return the choice that a query names, within an account.

    Raises:
        RequestRefusedError: 400, a parameter is wrong; it says what was expected.
    """
    return RejectQuery(
        account_id=account_id,
        source_id=_parse_id("source", asked.source),
        table_name=asked.table,
        cause_id=_parse_id("cause", asked.cause),
        code=parse_code(asked.code),
        field=asked.field,
        since=_parse_time("since", asked.since),
        until=_parse_time("until", asked.until),
        open_only=parse_boolean("open", asked.open),
    )


def parse_code(code: str | None) -> str | None:
    """Return the code of a cause.

    Raises:
        RequestRefusedError: 400, there is none of that name.
    """
    if code is not None and code not in list(RejectionCode):
        raise errors.invalid_reject_request(f"code is one of {', '.join(RejectionCode)}")
    return code


def parse_limit(limit: str | None) -> int:
    """Return how many rows a page is to have.

    Raises:
        RequestRefusedError: 400, it is no number from 1 to 100.
    """
    count = PAGE_ROWS_MAX if limit is None else parse_id(limit)
    if count is None or count > PAGE_ROWS_MAX:
        raise errors.invalid_reject_request(f"limit is a number from 1 to {PAGE_ROWS_MAX}")
    return count


def parse_place(before: str | None) -> RejectPlace | None:
    """Return the place that a page of rejected records begins behind.

    Raises:
        RequestRefusedError: 400, it is no id of a rejected record.
    """
    if before is None:
        return None
    try:
        return parse_reject_id(before)
    except OperatorError:
        raise errors.invalid_reject_request("before is the `next` of the page before") from None


def _parse_id(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    number = parse_id(text)
    if number is None:
        raise errors.invalid_reject_request(f"{name} is an id")
    return number


def _parse_time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    at = instant(text)
    if at is None:
        raise errors.invalid_reject_request(f"{name} is a time such as 2027-01-01T00:00:00Z")
    return at


def parse_boolean(name: str, text: str | None) -> bool:
    """Return what a query parameter says; False where it is not given.

    Raises:
        RequestRefusedError: 400, it is neither 1 nor 0.
    """
    found = False if text is None else _BOOLEANS.get(text.lower())
    if found is None:
        raise errors.invalid_reject_request(f"{name} is 1 or 0")
    return found
