"""The TypeScript client: its own tests, its package, and that package against a server."""

import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any, Final

import pytest
from clients.typescript.toolchain import NodeMissingError, NodeToolchain, find_installed_toolchain
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[2]
CLIENT: Final = ROOT / "clients" / "typescript"
PAGES: Final = (ROOT / "docs" / "how-to" / "send-from-typescript.md", CLIENT / "README.md")
TSCONFIG: Final = {
    "target": "ES2022",
    "module": "NodeNext",
    "moduleResolution": "NodeNext",
    "lib": ["ES2022"],
    "types": ["node"],
    "typeRoots": [str(CLIENT / "node_modules" / "@types")],
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "verbatimModuleSyntax": True,
}
"""Of a project that uses the package, without the types of a browser."""


@dataclass(frozen=True)
class NodeProject:
    """A project with the package installed, and its programs compiled.

    Attributes:
        folder: of the project.
        toolchain: that runs it.
        pages: programs that stand in the documents, by their names.
    """

    folder: Path
    toolchain: NodeToolchain
    pages: dict[str, str]

    def run(self, name: str, *arguments: str) -> Any:
        """Return the JSON value that a program prints."""
        words: list[str | Path] = [self.toolchain.node, self.folder / f"{name}.js", *arguments]
        done = self.toolchain.run(words, self.folder, PATIENCE_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def run_page(self, name: str, url: str, tokens: dict[str, str]) -> str:
        """Return what a program of the documents prints, with this server and these tokens."""
        text = (self.folder / f"{name}.js").read_text().replace("https://treadle.example.com", url)
        for shown, token in tokens.items():
            text = text.replace(shown, token)
        program = self.folder / f"{name}_here.js"
        program.write_text(text)
        done = self.toolchain.run([self.toolchain.node, program], self.folder, PATIENCE_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def toolchain() -> NodeToolchain:
    try:
        return find_installed_toolchain()
    except NodeMissingError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have Node: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def copy(toolchain: NodeToolchain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the client's folder, so that nothing is written into the repository."""
    folder = tmp_path_factory.mktemp("typescript") / "client"
    without = shutil.ignore_patterns("node_modules", "build", "dist", "__pycache__", "*.tgz")
    shutil.copytree(CLIENT, folder, ignore=without)
    (folder / "node_modules").symlink_to(CLIENT / "node_modules")
    return folder


@pytest.fixture(scope="module")
def package(toolchain: NodeToolchain, copy: Path) -> Path:
    """The file that `npm pack` makes."""
    done = toolchain.run((*toolchain.npm, "pack", "--offline"), copy, PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = copy.glob("*.tgz")
    return made


@pytest.fixture(scope="module")
def project(toolchain: NodeToolchain, package: Path, copy: Path) -> NodeProject:
    """A project that has the package, the programs of the tests and those of the documents."""
    folder = copy.parent / "project"
    installed = folder / "node_modules" / "treadle-client"
    installed.mkdir(parents=True)
    with tarfile.open(package) as archive:
        archive.extractall(installed.parent, filter="data")
    installed.rmdir()
    (installed.parent / "package").rename(installed)
    (folder / "package.json").write_text('{"type":"module"}')
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": TSCONFIG}))
    for program in (CLIENT / "tests" / "programs").glob("*.ts"):
        shutil.copy(program, folder)
    pages = {
        f"{page.stem.lower().replace('-', '_')}_{number}": text
        for page in PAGES
        for number, text in enumerate(
            re.findall(r"```typescript\n(.*?)```", page.read_text(), re.DOTALL), 1
        )
    }
    for name, text in pages.items():
        (folder / f"{name}.ts").write_text(text)
    toolchain.compile(folder)
    return NodeProject(folder, toolchain, pages)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    # Ten seconds of it are saved up, so only the test that means to meets it.
    settings = {"load_age_seconds": "0.2", "quota_records_per_second": "1"}
    with TreadleServer(tmp_path_factory.mktemp("server") / "data", None, settings) as server:
        yield Client(server, *server.account())


def test_its_own_tests_pass(toolchain: NodeToolchain, copy: Path) -> None:
    toolchain.compile(copy)
    tests = sorted((copy / "build" / "tests").glob("*.test.js"))
    assert len(tests) >= 5
    done = toolchain.run([toolchain.node, "--test", *tests], copy, PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(?m)^\S* ?pass \d\d", done.stdout), done.stdout


def test_the_package_holds_what_runs_and_no_more(package: Path) -> None:
    with tarfile.open(package) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
        described = archive.extractfile("package/package.json")
        assert described is not None
        value = json.loads(described.read())
    assert {"package.json", "README.md", "dist/index.js", "dist/index.d.ts"} <= names
    assert all(
        re.fullmatch(r"dist/[a-z-]+(\.d\.ts|\.js)|package\.json|README\.md", n) for n in names
    )
    assert "dependencies" not in value


def test_the_programs_of_the_documents_run(project: NodeProject, client: Client) -> None:
    _, token = client.create_source("page")
    tokens = {"at_...": token, "ac_...": client.account["Authorization"].removeprefix("Bearer ")}
    url = client.server.url
    said = {name: project.run_page(name, url, tokens) for name in project.pages}
    assert said.pop("send_from_typescript_1") == "2 durable, 2 loaded, 0 rejected\n"
    assert said.pop("send_from_typescript_2") == ""
    assert re.fullmatch(
        r"fully_configured the new token ends with \w{4}\n\d+ problems\n",
        said.pop("send_from_typescript_3"),
    )
    assert said == {"readme_1": "1\n"}
    query = client.server.query
    assert query(
        "select id, typeof(ordered_at) as at, typeof(price) as price, price::varchar as shown "
        "from page.orders order by id"
    ) == [
        {"id": number, "at": "TIMESTAMP WITH TIME ZONE", "price": "DECIMAL(38,9)", "shown": shown}
        for number, shown in ((1, "10.500000000"), (2, "3.000000000"))
    ]
    eventually(lambda: query("select count(*) as n from page.weather") == [{"n": 2}])
    assert query(
        "select typeof(celsius) as c, typeof(weather.at) as a from page.weather where id = 1"
    ) == [{"c": "DOUBLE", "a": "TIMESTAMP WITH TIME ZONE"}]
    eventually(lambda: query("select count(*) as n from page.events") == [{"n": 1}])


def test_the_guide_is_walked(project: NodeProject, client: Client) -> None:
    token = client.account["Authorization"].removeprefix("Bearer ")
    said = project.run("walk", client.server.url, token)
    refused = said.pop("refused")
    assert refused.startswith("OperatorError: Record 1 could not be sent: http://127.0.0.1:")
    assert "401" in refused
    assert "the token was revoked or has ended" in refused
    assert said == {
        "type": "import_api",
        "step": "fully_configured",
        "loaded": 1,
        "revoked": False,
        "tells": False,
        "rotated": 4,
        "tokens": [False, False, True],
        "sources": 1,
        "missing": 404,
    }
    assert client.server.query("select id, name, age from walk.customers") == [
        {"id": 1, "name": "Ann", "age": 41}
    ]


def test_a_busy_server_is_waited_for(project: NodeProject, client: Client) -> None:
    _, token = client.create_source("few")
    said = project.run("quota", client.server.url, token)
    assert said["loaded"] == said["durable"] >= 24
    assert all(re.match(r"http://127\.0\.0\.1:\d+ answers 429 ", one) for one in said["waits"])
    assert client.server.query("select count(*) as n, count(distinct id) as d from few.few") == [
        {"n": said["durable"], "d": said["durable"]}
    ]


class SenderProgram:
    """The program that adds records until it is told to stop.

    Attributes:
        said: every line so far.
    """

    def __init__(self, project: NodeProject, url: str, token: str) -> None:
        self.said: list[str] = []
        self._process = subprocess.Popen(
            [str(project.toolchain.node), str(project.folder / "sender.js"), url, token],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the first further line that begins with a pattern."""
        while True:
            line = self._lines.get(timeout=PATIENCE_SECONDS)
            self.said.append(line)
            assert line, self.said
            if found := re.match(pattern, line):
                return found

    def durable(self, least: int) -> int:
        """Wait until so many records are durable; returns how many are."""
        while True:
            count = int(self.wait_for(r"durable: (\d+)")[1])
            if count >= least:
                return count

    def finish(self) -> dict[str, Any]:
        """Tell it to stop, and return the JSON that it prints at last."""
        assert self._process.stdin is not None
        self._process.stdin.write("enough\n")
        self._process.stdin.close()
        found: dict[str, Any] = json.loads(self.wait_for(r"\{.*\}")[0])
        assert self._process.wait(PATIENCE_SECONDS) == 0
        return found

    def __enter__(self) -> "SenderProgram":
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()


def test_a_server_is_killed_under_a_writer_and_every_record_is_there_once(
    project: NodeProject, tmp_path: Path
) -> None:
    settings = {"load_age_seconds": "0.2"}
    with TreadleServer(tmp_path / "data", None, settings) as server:
        _, token = Client(server, *server.account()).create_source("shop")
        with SenderProgram(project, server.url, token) as sender:
            before = sender.durable(2_000)
            server.kill()
            sender.wait_for(r"waits: http://127\.0\.0\.1:\d+ cannot be reached")
            server.start()
            sender.durable(before + 2_000)
            said = sender.finish()
        added = said["added"]
        assert (said["durable"], said["loaded"], said["rejected"]) == (added, added, 0)
        statement = (
            "select count(*) as n, count(distinct number) as d, min(number) as low, "
            "max(number) as high from shop.events"
        )
        eventually(partial(_holds, server, statement, added))


def _holds(server: TreadleServer, statement: str, added: int) -> bool:
    found = server.query(statement)
    assert found == [{"n": added, "d": added, "low": 1, "high": added}]
    return True
