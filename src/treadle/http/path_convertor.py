"""A path parameter that takes any text: names of tables may have slashes and line breaks."""

from typing import Final

from starlette.convertors import Convertor, register_url_convertor

TABLE_IN_PATH: Final = "{table:text}"
"""The name of a table in the path of a route."""


class TextConvertor(Convertor[str]):
    """Matches any part of a path; `path` leaves out line breaks, which table names may have."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """As it stands in the path."""
        return value

    def to_string(self, value: str) -> str:
        """As it stands in the path."""
        return value


register_url_convertor("text", TextConvertor())
