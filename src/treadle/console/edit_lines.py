"""Edits of rejected records as people type them, a line each, and their requests. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from treadle.errors import TreadleError

LINES_MAX: Final = 100
SHOWN_CHARACTERS: Final = 60


class EditLineError(TreadleError):
    """A line is no edit. The text says which line, what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class TypedEdit:
    """An edit of several records.

    Attributes:
        put: field -> JSON text of its new value.
        drop: fields to leave out.
    """

    put: Mapping[str, msgspec.Raw] = field(default_factory=dict)
    drop: Sequence[str] = ()

    def __bool__(self) -> bool:
        """Return whether anything changes."""
        return bool(self.put) or bool(self.drop)


def parse_edit(set_text: str, unset_text: str) -> TypedEdit:
    """Return the edit that two texts name.

    Args:
        set_text: lines such as `amount = 12`, with a JSON value.
        unset_text: a field on each line.

    Raises:
        EditLineError: a line is of another form.
    """
    put: dict[str, msgspec.Raw] = {}
    for number, line in _list_lines(set_text):
        name, equals, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name:
            raise EditLineError(
                f"Line {number} of the fields to set is to be FIELD = JSON, such as amount = 12; "
                f"it is {_show(line)}."
            )
        try:
            put[name] = msgspec.json.decode(value.encode("utf-8", "replace"), type=msgspec.Raw)
        except ValueError as error:
            raise EditLineError(
                f"Line {number} of the fields to set has a value that is no JSON: {_show(value)} "
                f'({error}). A text is in quotes, such as "paid".'
            ) from error
    drop = [line for _, line in _list_lines(unset_text)]
    both = sorted(set(put).intersection(drop))
    if both:
        raise EditLineError(f"The field {_show(both[0])} is to be set and to be left out.")
    return TypedEdit(put, drop)


def _list_lines(text: str) -> list[tuple[int, str]]:
    found = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    kept = [(number, line) for number, line in found if line]
    if len(kept) > LINES_MAX:
        raise EditLineError(f"There are {len(kept)} lines, and {LINES_MAX} fit.")
    return kept


def _show(text: str) -> str:
    cut = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
    return f"{cut!r}"


def encode_filter_resend(
    chosen: Mapping[str, Any], edit: TypedEdit, expected: int | None = None
) -> bytes:
    """Return the body of `POST /v1/rejects/resend` for a filter.

    Args:
        chosen: parts of the filter; None and empty ones are left out.
        edit: of each record.
        expected: how many open records were seen; None for a preview.
    """
    body: dict[str, Any] = {
        "filter": {name: value for name, value in chosen.items() if value not in (None, "")},
        "edit": {"set": dict(edit.put), "unset": list(edit.drop)},
    }
    if expected is not None:
        body["expected"] = expected
    return msgspec.json.encode(body)


def encode_record_resend(reject_id: str, record: str | None) -> bytes:
    """Return the body of `POST /v1/rejects/resend` for one record.

    Args:
        reject_id: of the record.
        record: JSON text that replaces it; None to send it as it was.
    """
    edit = {} if record is None else {"record": make_sendable(record)}
    return msgspec.json.encode({"ids": [reject_id], "edit": edit, "expected": 1})


def make_sendable(text: str) -> str:
    """Return a text without surrogates that are no characters, so that it can be sent."""
    return text.encode("utf-8", "replace").decode()


def lay_out_record(text: str) -> str:
    """Return the JSON text of a record on several lines; as it is where it is no JSON."""
    try:
        return msgspec.json.format(text, indent=2)
    except ValueError:
        return text


def name_edit(edit: TypedEdit) -> str:
    """Return an edit as the flags of `treadle rejects resend`, with a blank before each."""
    put = [
        f" --set {_quote(f'{name}={bytes(value).decode()}')}" for name, value in edit.put.items()
    ]
    return "".join(put + [f" --unset {_quote(name)}" for name in edit.drop])


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
