"""A class name says one thing: no two modules have a class of the same name (CONTRIBUTING.md)."""

import ast
from collections import defaultdict
from pathlib import Path

import treadle


def test_no_class_name_stands_twice() -> None:
    places = defaultdict(list)
    for path in sorted(Path(treadle.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path}:{node.lineno}")
    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
