"""Names of clients in SQL, Jinja and YAML come back as they were."""

from typing import Any

import jinja2
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.dbt_project.quoting import protect_text, quote_identifier, write_yaml

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
HOSTILE = st.one_of(
    TEXTS,
    st.lists(
        st.sampled_from(
            ["{{", "}}", "{%", "%}", "{#", "#}", "'", '"', "\\", "\n", "\r", "#", "- ", ": ", "a"]
        )
    ).map("".join),
)


def render(text: str) -> str:
    return jinja2.Environment(autoescape=False).from_string(text).render()  # noqa: S701


@given(HOSTILE)
def test_jinja_renders_a_protected_text_as_it_was(text: str) -> None:
    assert render(f"select {protect_text(text)} .") == f"select {text} ."


@given(HOSTILE)
def test_a_name_is_one_identifier_of_sql(name: str) -> None:
    quoted = render(quote_identifier(name))
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('""', "") == name.replace('"', "")
    assert quoted[1:-1].replace('""', '"') == name


def test_plain_names_stay_readable() -> None:
    assert quote_identifier("customer id") == '"customer id"'
    assert protect_text("größe 100%") == "größe 100%"
    assert protect_text("{{a'") == "{{ '\\x7b\\x7ba\\x27' }}"


@settings(max_examples=40)
@given(st.dictionaries(HOSTILE, HOSTILE | st.lists(HOSTILE, max_size=2), min_size=1, max_size=3))
def test_yaml_is_read_as_it_was_meant(value: dict[str, Any]) -> None:
    assert yaml.safe_load(write_yaml(value)) == value


def test_yaml_is_in_block_style() -> None:
    assert write_yaml({"a": [{"b": 1, "c": ["no", "x y"]}], "d": {"e": None}, "f": [[], [{}]]}) == (
        'a:\n  - b: 1\n    c:\n      - "no"\n      - "x y"\nd:\n  e: null\nf:\n  - []\n  - - {}\n'
    )
