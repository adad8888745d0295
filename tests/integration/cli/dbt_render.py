"""Renders the files of a dbt project as dbt does, as far as they need, and without dbt."""

from pathlib import Path
from typing import Any

import jinja2
import yaml


class DbtRenderer:
    """The models and tests in a folder, as statements that a database runs.

    Args:
        root: the folder of the project.
    """

    def __init__(self, root: Path) -> None:
        self._jinja = jinja2.Environment(autoescape=False)  # noqa: S701
        self._models = {path.stem: path.read_text() for path in root.glob("models/**/*.sql")}
        self.tests = {path.stem: path.read_text() for path in root.glob("tests/**/*.sql")}
        self.sources: dict[str, Any] = {}
        self._tables: dict[tuple[str, str], str] = {}
        for path in root.glob("models/**/sources.yml"):
            for source in self._render_values(yaml.safe_load(path.read_text()))["sources"]:
                self.sources[source["name"]] = source
                for table in source["tables"]:
                    place = f'"{source["schema"]}"."{table["identifier"]}"'
                    self._tables[source["name"], table["name"]] = place

    def _render_values(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._render_values(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._render_values(inner) for inner in value]
        return self._jinja.from_string(value).render() if isinstance(value, str) else value

    @property
    def models(self) -> list[str]:
        """The names of all models."""
        return sorted(self._models)

    def render(self, text: str) -> str:
        """The statement of a model or a test; models that it reads are subqueries."""
        return self._jinja.from_string(text).render(
            source=lambda source, table: self._tables[source, table],
            ref=lambda model: f"({self.render_model(model)}) as _",
        )

    def render_model(self, name: str) -> str:
        """The statement of a model."""
        return self.render(self._models[name])
