"""Templates are compiled once, and nothing is used that was compiled of something else."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import DictLoader, Environment

from treadle.console import rendering
from treadle.console.template_cache import ENDING, TemplateCache, digest_compiler
from treadle.console.template_compiler import compile_templates

SOURCE = "Hello {{ name }}"
COMPILER = digest_compiler(b"settings")


class CountingEnvironment(Environment):
    """Counts what is compiled."""

    compiled = 0

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        self.compiled += 1
        return super().compile(*args, **kwargs)


def render(
    folder: Path, source: str = SOURCE, compiler: bytes = COMPILER, *, writes: bool = True
) -> tuple[str, int]:
    """The page, and how many templates had to be compiled for it."""
    cache = TemplateCache(compiler, writes=writes, folder=folder)
    environment = CountingEnvironment(loader=DictLoader({"a": source}), bytecode_cache=cache)
    text = environment.get_template("a").render(name="you")
    return text, environment.compiled


def test_a_template_is_compiled_once(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    assert render(folder) == ("Hello you", 1)
    assert render(folder) == ("Hello you", 0)
    assert [path.suffix for path in folder.iterdir()] == [ENDING]


def test_what_was_compiled_of_another_source_or_otherwise_is_not_used(tmp_path: Path) -> None:
    render(tmp_path)
    assert render(tmp_path, "Bye {{ name }}") == ("Bye you", 1)
    assert render(tmp_path, "Bye {{ name }}") == ("Bye you", 0)
    other = digest_compiler(b"other settings")
    assert render(tmp_path, "Bye {{ name }}", other) == ("Bye you", 1)
    assert render(tmp_path, "Bye {{ name }}", other) == ("Bye you", 0)
    assert len(list(tmp_path.iterdir())) == 1


def damage_file(content: bytes) -> Iterator[bytes]:
    yield b""
    yield content[:-1]
    yield content + b"x"
    for place in range(0, len(content), 7):
        yield content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_a_damaged_file_is_not_used(tmp_path: Path) -> None:
    render(tmp_path)
    [path] = tmp_path.iterdir()
    for damaged in damage_file(path.read_bytes()):
        path.write_bytes(damaged)
        assert render(tmp_path, writes=False) == ("Hello you", 1)


def test_where_nothing_can_be_written_templates_are_compiled_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        assert render(tmp_path / "file") == ("Hello you", 1)
        assert render(tmp_path / "none", writes=False) == ("Hello you", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_compiler_runs_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a filter makes of a constant would be kept, whatever the filter is changed to.
    called: list[object] = []
    monkeypatch.setattr(rendering, "_finalize", called.append)
    environment = rendering.make_environment(writes_code=False)
    environment.bytecode_cache = None
    for name in environment.filters:
        environment.filters[name] = called.append
    for name in environment.list_templates():
        environment.get_template(name)
    assert called == []


def test_a_worker_compiles_nothing_where_all_was_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(
        sys, "dont_write_bytecode", True
    )  # as in a container: it reads all the same
    assert compile_templates() == len(list(tmp_path.rglob(f"*{ENDING}"))) > 60
    monkeypatch.delattr(Environment, "compile")
    environment = rendering.make_environment()
    for name in environment.list_templates():
        assert environment.get_template(name).name == name
