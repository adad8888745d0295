"""The types of the TypeScript client are those of the server's OpenAPI document."""

from clients.typescript.codegen.__main__ import TYPES_FILE
from clients.typescript.codegen.server_document import make_server_document
from clients.typescript.codegen.type_writer import list_operations, write_types


def test_the_types_are_up_to_date() -> None:
    document = make_server_document()
    assert len(list(list_operations(document))) > 80
    written = TYPES_FILE.read_text(encoding="utf-8")
    assert written == write_types(document), "run `make client-types`"
