"""The Import API's part of the OpenAPI document: `import_api.json`.

Tests hold its numbers and examples against the constants of the program.
"""

from treadle.http import openapi


def load_document() -> openapi.JsonObject:
    """Return an OpenAPI 3.1 document of the Import API alone; a fresh value each time."""
    found = openapi.load_document("treadle.ingest", "import_api.json")
    for item in found["paths"].values():
        for operation in item.values():
            answers = operation["responses"]
            operation["responses"] = {status: answers[status] for status in sorted(answers)}
    return found
