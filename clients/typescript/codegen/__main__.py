"""Writes `src/api-types.ts` of the TypeScript client; `make client-types` runs it."""

from pathlib import Path
from typing import Final

from clients.typescript.codegen.server_document import make_server_document
from clients.typescript.codegen.type_writer import write_types

TYPES_FILE: Final = Path(__file__).parents[1] / "src" / "api-types.ts"


def main() -> None:
    """Write the file."""
    TYPES_FILE.write_text(write_types(make_server_document()), encoding="utf-8")


if __name__ == "__main__":
    main()
