"""The page about clients: what can be checked of it without them."""

import ast
import json
import tomllib
from importlib import import_module

from tests.clients import by_the_page


def test_the_config_of_target_stitch_has_all_that_it_requires() -> None:
    """What `parse_config` of target-stitch 4.0.3 refuses to start without."""
    config = json.loads(by_the_page.find_block("json", "batch_size_preferences"))
    assert type(config["client_id"]) is int
    assert type(config["batch_size_preferences"]) is dict
    url = f"{by_the_page.BUILT_IN}/v2/import/batch"
    assert (config["small_batch_url"], config["big_batch_url"]) == (url, url)
    assert config["token"] == by_the_page.TOKEN


def test_the_program_for_dlt_is_python() -> None:
    ast.parse(by_the_page.find_block("python", "@dlt.destination"))


def test_the_plugin_for_meltano_starts_the_program_of_the_package() -> None:
    plugin = by_the_page.find_block("yaml", "target-treadle", by_the_page.SINGER_PAGE)
    project = tomllib.loads((by_the_page.PAGE.parents[2] / "pyproject.toml").read_text())
    assert "executable: target-treadle\n" in plugin
    module, _, name = project["project"]["scripts"]["target-treadle"].partition(":")
    assert callable(getattr(import_module(module), name))
