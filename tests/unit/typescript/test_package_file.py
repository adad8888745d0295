"""The package of the TypeScript client: version, hashes, and nothing of a registry."""

import json
import re
from pathlib import Path

from clients.typescript.toolchain import NODE_MAJOR_MIN

from treadle import __version__

CLIENT = Path(__file__).parents[3] / "clients" / "typescript"
PACKAGE = json.loads((CLIENT / "package.json").read_text())
LOCK = json.loads((CLIENT / "package-lock.json").read_text())


def test_the_package_has_the_version_of_the_server_and_no_dependencies() -> None:
    assert PACKAGE["version"] == LOCK["version"] == LOCK["packages"][""]["version"] == __version__
    assert not PACKAGE.keys() & {"dependencies", "peerDependencies", "optionalDependencies"}
    assert PACKAGE["engines"] == {"node": f">={NODE_MAJOR_MIN}"}


def test_the_page_names_the_file_that_npm_makes() -> None:
    page = (CLIENT.parents[1] / "docs" / "how-to" / "send-from-typescript.md").read_text()
    made = f"{PACKAGE['name']}-{PACKAGE['version']}.tgz"
    assert re.findall(r"[\w.-]+\.tgz", page) == [made]


def test_every_locked_package_has_a_hash_and_no_address() -> None:
    assert PACKAGE["devDependencies"] == LOCK["packages"][""]["devDependencies"]
    for name, locked in LOCK["packages"].items():
        if name:
            assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", locked["integrity"]), name
            assert locked["dev"], name
    assert "resolved" not in json.dumps(LOCK)
    assert "://" not in json.dumps(LOCK)
