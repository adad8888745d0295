"""Templates to pages. Whatever a value is, it is text: it is escaped, bounded and visible."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from treadle.console import view
from treadle.console.template_cache import TemplateCache, digest_compiler
from treadle.text import escape_json, escape_lines, make_storable

HERE: Final = Path(__file__).parent

MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

LINES_CHARACTERS_MAX: Final = 20_000
CUT_LINE: Final = "\n... (the rest is not shown)"

_SHAPES: Final = {"good": "●", "plain": "○", "busy": "◐", "warn": "▲", "bad": "■", "off": "○"}


def make_environment(*, writes_code: bool | None = None) -> Environment:
    """Make the environment of all templates.

    Args:
        writes_code: keep what is compiled; None to do as Python does with its modules.
    """
    writes = not sys.dont_write_bytecode if writes_code is None else writes_code
    compiler = digest_compiler(Path(__file__).read_bytes())
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_finalize,
        bytecode_cache=TemplateCache(compiler, writes=writes),
    )
    made.filters |= {
        "age": view.format_age,
        "bytes": view.format_bytes,
        "clock": view.format_clock,
        "count": view.format_count,
        "drawing": show_drawing,
        "duration": view.format_duration,
        "field_value": show_field_value,
        "json": show_json,
        "lines": show_lines,
        "prose": show_prose,
        "rate": view.format_rate,
        "state": show_state,
        "words": view.format_words,
    }
    made.globals |= {"when": show_time, "counted": view.count_words}
    return made


def _finalize(value: object) -> object:
    """Make what a template prints fit to be seen; markup was made fit before."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return view.show_text(value)
    return value


def show_time(instant: int | None, now: int, missing: str = "never") -> Markup:
    """Return a point in time, relative to now, with the exact time behind it."""
    if instant is None:
        return Markup('<span class="none">{}</span>').format(missing)
    words = view.describe_time(instant, now)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        words.iso, words.exact, words.relative
    )


def show_state(state: view.StateWord) -> Markup:
    """Return a state by a shape and a word."""
    return Markup('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>').format(
        state.tone, _SHAPES[state.tone], view.show_text(state.word)
    )


def show_prose(text: str) -> Markup:
    """Return a sentence; what stands in it between backquotes is a command."""
    parts = view.show_text(text).split("`")
    if len(parts) % 2 == 0:  # one without its partner is what it is
        return escape(view.show_text(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def show_drawing(svg: str) -> Markup:
    """Return a plot of `console.plot`, which escapes what it is given, as markup."""
    return Markup(svg)  # noqa: S704 - made by us, and its texts are escaped


def show_lines(text: str) -> Markup:
    """Return a text of several lines; a long one ends with a line that says that it is cut."""
    return escape(escape_lines(text[:LINES_CHARACTERS_MAX])) + _mark_cut(text)


def show_json(text: str) -> Markup:
    """Return JSON of several lines, which is the same JSON where it is copied; cut as lines are."""
    lines = text[:LINES_CHARACTERS_MAX].split("\n")
    return escape("\n".join(map(escape_json, lines))) + _mark_cut(text)


def _mark_cut(text: str) -> str:
    return CUT_LINE if len(text) > LINES_CHARACTERS_MAX else ""


def show_field_value(text: str) -> Markup:
    """Return a text as the value of a field, which is sent back as it is."""
    return escape(make_storable(text))


class PageRenderer:
    """Renders templates, and has the files that pages refer to.

    Attributes:
        files: name -> media type and content of each file that pages refer to.
        marks: name -> text that changes with the content, for its URL.
    """

    def __init__(self) -> None:
        self._environment = make_environment()
        self.files: dict[str, tuple[str, bytes]] = {
            path.name: (MEDIA_TYPES[path.suffix], path.read_bytes())
            for path in sorted((HERE / "static").iterdir())
            if path.suffix in MEDIA_TYPES
        }
        self.marks = {
            name: hashlib.sha256(content).hexdigest()[:12]
            for name, (_, content) in self.files.items()
        }

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """Return a page, or a region of one."""
        found = self._environment.get_template(template)
        return str(found.render(values, marks=self.marks))
