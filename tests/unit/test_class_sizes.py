"""A class does one thing: none has more than 25 methods (CONTRIBUTING.md)."""

import ast
from pathlib import Path

import treadle

METHODS_MAX = 25


def is_property(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a method reads or sets an attribute: `x.setter` counts as one too."""
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in method.decorator_list}
    return bool(names & {"property", "cached_property", "setter"})


def list_methods(class_: ast.ClassDef) -> set[str]:
    """Return the methods of a class without properties and those that Python calls by itself."""
    return {
        node.name
        for node in class_.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not (node.name.startswith("__") and node.name.endswith("__"))
        and not is_property(node)
    }


def test_no_class_has_many_methods() -> None:
    sizes = {
        f"{path}:{node.lineno} {node.name}": len(list_methods(node))
        for path in sorted(Path(treadle.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert max(sizes.values()) > 10
    assert {name: size for name, size in sizes.items() if size > METHODS_MAX} == {}


def test_properties_and_methods_of_python_do_not_count() -> None:
    text = """
class OneThing:
    def __init__(self): ...
    @property
    def size(self): ...
    @size.setter
    def size(self, size): ...
    @functools.cached_property
    def name(self): ...
    @classmethod
    def make(cls): ...
    async def run(self): ...
"""
    [found] = ast.parse(text).body
    assert isinstance(found, ast.ClassDef)
    assert list_methods(found) == {"make", "run"}
