"""References to the specifications, such as `loading.md 5.4`, and case ids are found there."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "docs" / "reference" / "spec"
LOADING = ROOT / "src" / "treadle" / "destinations" / "conformance" / "loading"
CONFORMANCE = ROOT / "tests" / "conformance"
FOLDERS = ("src", "tests", "benchmarks")

NUMBER = r"(?:A\.)?\d+(?:\.\d+)*"
CASE = r"[LMB]\d\d|Q\d+"
DETAIL = r"(?: steps? \d+(?:(?:, | and | to |-)\d+)*| rows? \d+| [A-J]\b)"
ITEM = rf"(?:{CASE}|{NUMBER}(?![\d,]*\d){DETAIL}?)"
REFERENCE = re.compile(
    rf"\b(?P<name>connect-api|connect-rest|import-api|loading)\.md"
    rf"(?P<items>,? {ITEM}(?:(?:, | and | to |-){ITEM})*)?"
)

BARE = re.compile(rf"(?:\(|, |see |of )(?:\d+\.\d+|{CASE})(?:, (?:\d+(?:\.\d+)?|{CASE}))*[);.]")
"""A section or a case without its document, as nobody can look it up."""

PROSE = re.compile(r'"""(?:.|\n)*?"""|#.*')


class Reference(NamedTuple):
    """One place in the source that refers to a specification."""

    file: str
    document: str
    item: str


@dataclass(frozen=True)
class Specification:
    """What can be referred to in one document.

    Attributes:
        sections: number of each heading -> the text below it, deeper headings included.
        rows: what is in the first cell of a table row, with the rest of the row.
    """

    sections: dict[str, str]
    rows: dict[str, list[str]]

    def has(self, item: str) -> bool:
        """Return whether an item of a reference is there: a section, with its steps, or a case."""
        if re.fullmatch(CASE, item):
            return item in self.rows
        number, _, detail = item.partition(" ")
        text = self.sections.get(number)
        if text is None or not detail:
            return text is not None
        kind, _, numbers = detail.partition(" ")
        if kind in ("step", "steps"):
            return all(re.search(rf"(?:^|\s){n}\. ", text) for n in re.findall(r"\d+", numbers))
        if kind in ("row", "rows"):
            return f"\n| {numbers} |" in text
        return re.search(rf"^#+ {kind}\. ", text, re.MULTILINE) is not None


@cache
def specification(name: str) -> Specification:
    """Read a document of `docs/reference/spec`."""
    text = (SPEC / f"{name}.md").read_text()
    heads = list(re.finditer(rf"^(#+) ({NUMBER})\.? ", text, re.MULTILINE))
    every = list(re.finditer(r"^(#+) ", text, re.MULTILINE))
    sections = {}
    for head in heads:
        after = (one for one in every if one.start() > head.start())
        end = next((one.start() for one in after if len(one[1]) <= len(head[1])), len(text))
        sections[head[2]] = text[head.start() : end]
    rows: dict[str, list[str]] = {}
    for row in re.finditer(r"^\| (\w+) \| (.*) \|$", text, re.MULTILINE):
        rows.setdefault(row[1], []).append(row[2])
    return Specification(sections, rows)


def files() -> Iterator[Path]:
    """Find the files of source and tests."""
    for folder in FOLDERS:
        for pattern in ("*.py", "*.txt", "*.md"):
            yield from (ROOT / folder).rglob(pattern)


def flowing(path: Path) -> str:
    """Return the text of a file in one line, without the signs of comments."""
    return re.sub(r"\s*\n\s*(?:#:? ?)?", " ", path.read_text())


def references() -> Iterator[Reference]:
    """Find all items of all references in source and tests."""
    for path in files():
        if path == Path(__file__):
            continue
        for found in REFERENCE.finditer(flowing(path)):
            for item in re.findall(ITEM, found["items"] or ""):
                yield Reference(str(path.relative_to(ROOT)), found["name"], item)


def _list_only(case: Mapping[str, Any]) -> list[str]:
    only = case.get("only", [])
    return only if isinstance(only, list) else [only]


def titles() -> dict[str, str]:
    """Return the titles of the loading cases by id, with the destination of those for one alone."""
    only = {
        "": "",
        "pg": " (PostgreSQL only)",
        "duckdb": " (DuckDB only)",
        "pg mysql": " (PostgreSQL and MySQL only)",
        "pg mysql redshift": " (PostgreSQL, MySQL and Redshift only)",
        "clickhouse pg mysql redshift": " (ClickHouse, PostgreSQL, MySQL and Redshift only)",
        "files": " (files only)",
        "snowflake": " (Snowflake only)",
    }
    return {
        case["id"]: case["title"] + only[" ".join(_list_only(case))]
        for name in ("cases.json", "more.json", "append_only.json")
        for case in json.loads((LOADING / name).read_text())
    }


def test_every_reference_resolves() -> None:
    found = list(references())
    missing = [one for one in found if not specification(one.document).has(one.item)]
    assert missing == []
    assert len(found) > 200


def test_no_reference_leaves_its_document_out() -> None:
    bare = []
    for path in (ROOT / "src").rglob("*.py"):
        for text in PROSE.findall(path.read_text()):
            flat = re.sub(r"\s+", " ", text)
            for found in BARE.finditer(flat):
                before = flat[max(0, found.start() - 40) : found.start()]
                if not re.search(r"\.md|RFC|Python", before):
                    bare.append(f"{path.relative_to(ROOT)}: {before}{found[0]}")
    assert bare == []


@pytest.mark.parametrize("path", sorted(SPEC.glob("*.md")), ids=lambda path: path.stem)
def test_references_inside_the_documents_resolve(path: Path) -> None:
    text = re.sub(r"\s*\n\s*", " ", path.read_text())
    missing = [
        f"{found['name']} {item}"
        for found in REFERENCE.finditer(text)
        for item in re.findall(ITEM, found["items"] or "")
        if not specification(found["name"]).has(item)
    ]
    own = specification(
        {"connect-rest": "connect-api", "README": "loading"}.get(path.stem, path.stem)
    )
    for found in re.finditer(rf"\b[Ss]ections? ((?:{NUMBER}(?:, | and | to )?)+)", text):
        missing += [number for number in re.findall(NUMBER, found[1]) if number not in own.sections]
    assert missing == []


def test_every_loading_case_is_described_with_its_title() -> None:
    rows = specification("loading").rows
    described = {id_: rows[id_][0] for id_ in rows if re.fullmatch(r"[ALM]\d\d", id_)}
    assert described == titles()


def test_every_bulk_case_is_described_and_run() -> None:
    run = (ROOT / "tests" / "conformance" / "test_loading_bulk.py").read_text()
    named = re.findall(r"^def test_(b\d\d(?:_and_b\d\d)*)_", run, re.MULTILINE)
    ids = {id_.upper() for name in named for id_ in name.split("_and_")}
    assert ids == {id_ for id_ in specification("loading").rows if re.fullmatch(r"B\d\d", id_)}


def test_every_case_of_the_import_api_is_described_once() -> None:
    listed = (CONFORMANCE / "import" / "cases.txt").read_text()
    numbers = re.findall(r"^(\d+) ", listed, re.MULTILINE)
    text = specification("import-api").sections["18"]
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == numbers
