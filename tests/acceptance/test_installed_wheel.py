"""The wheel alone, in an empty environment, far from the repository: `make wheel-test`."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.servers.shell import patient
from tests.servers.wheel import build_wheel, clean_environment, run

pytestmark = pytest.mark.release
"""It fetches all that a server needs from the package index."""
INSTALL_SECONDS_MAX = 180.0
ANSWER_SECONDS_MAX = 60.0
"""Both are far above what is measured and printed: a machine may be busy."""
UNUSED_PARTS = (
    "include", "includes", "src", "tests", "libarrow_flight*", "libarrow_python_flight*",
    "_flight*", "libarrow_s3*", "_s3fs*",
)  # fmt: skip
"""Of pyarrow, what the container leaves out."""


@dataclass(frozen=True)
class Installation:
    """An environment with treadle in it.

    Attributes:
        root: of the environment.
        seconds: that pip took.
    """

    root: Path
    seconds: float

    @property
    def python(self) -> str:
        return str(self.root / "bin" / "python")

    @property
    def packages(self) -> Path:
        [folder] = self.root.glob("lib/python3.*/site-packages")
        return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    root = tmp_path_factory.mktemp("environment")
    venv.create(root, with_pip=True)
    [constraints] = wheel.parent.glob("*.constraints.txt")
    begun = time.monotonic()
    pip = [str(root / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    run(*pip, str(wheel), "-c", str(constraints), cwd=root)
    return Installation(root, time.monotonic() - begun)


def show(text: str) -> None:
    """Print what was measured; `make wheel-test` shows it."""
    print(text)  # noqa: T201


def megabytes(path: Path) -> float:
    if path.is_file():
        return path.stat().st_size / 2**20
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file()) / 2**20


@dataclass
class RunningServer:
    """`treadle serve` in an empty folder, without a flag but the port.

    Attributes:
        said: what it printed until the guide was there.
        seconds: from the start to the first answer.
    """

    installation: Installation
    folder: Path
    said: str
    url: str
    seconds: float

    def treadle(self, *words: str) -> str:
        return run(str(self.installation.root / "bin" / "treadle"), *words, cwd=self.folder)


@pytest.fixture
def running(installed: Installation, tmp_path: Path) -> Iterator[RunningServer]:
    yield from serve(installed, tmp_path)


def serve(installed: Installation, folder: Path) -> Iterator[RunningServer]:
    begun = time.monotonic()
    process = subprocess.Popen(
        [str(installed.root / "bin" / "treadle"), "serve", "--port", "0"],
        cwd=folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=(folder / "server.log").open("w"),
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("curl") and said.count("$RECORD") == 4:
                break
        found = re.search(r"treadle listens at (http://127\.0\.0\.1:\d+)", said)
        assert found, said + (folder / "server.log").read_text()
        httpx.get(f"{found[1]}/v2/import/status").raise_for_status()
        yield RunningServer(installed, folder, said, found[1], time.monotonic() - begun)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stdout is not None
        process.stdout.close()


def walk_guide(server: RunningServer) -> list[str]:
    """Type the lines that the server printed; returns what they print."""
    _, _, lines = server.said.partition("# Where the server is, and who you are")
    path = f"{server.installation.root / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-e"],
        input=patient(lines),
        cwd=server.folder,
        env={**clean_environment(), "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def require_clean_status(server: RunningServer) -> None:
    told = json.loads(server.treadle("status", "--json"))
    assert told["problems"] == {}
    assert told["totals"]["loaded"] + told["totals"]["superseded"] == told["totals"]["accepted"]
    assert (told["totals"]["accepted"], told["totals"]["rejected"]) == (3, 0)
    assert {name: state for name, state in told["processes"].items() if state != "running"} == {}


def test_the_guide_works_from_the_wheel_alone(
    wheel: Path, installed: Installation, running: RunningServer
) -> None:
    said = walk_guide(running)
    assert said[2] == '{"status":"OK","message":"Batch Accepted!"}'
    assert said[-2] == '{"status":"ERROR","error":"Not Authenticated.","errors":null}'
    deadline = time.monotonic() + 60
    while json.loads(running.treadle("status", "--json"))["totals"]["waiting"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    require_clean_status(running)
    # Templates and files of the console, the page about the API, the files of deploy/.
    page = httpx.get(f"{running.url}/console/login")
    assert page.status_code == 200
    for link in re.findall(r'(?:href|src)="([^"]+\.(?:css|js|svg)[^"]*)"', page.text):
        assert httpx.get(f"{running.url}{link}").status_code == 200, link
    assert httpx.get(f"{running.url}/docs").status_code == 200
    assert (installed.root / "share" / "treadle" / "systemd" / "treadle.service").exists()
    for module in ("psycopg", "pytest", "hypothesis"):
        assert not (installed.packages / module).exists(), "it is no part of the default"

    parts = {path.name: megabytes(path) for path in installed.packages.iterdir()}
    largest = sorted(parts.items(), key=lambda one: -one[1])[:12]
    show(f"wheel {wheel.stat().st_size:,} bytes, installed in {installed.seconds:.1f} s")
    show(f"answers after {running.seconds:.2f} s, environment {megabytes(installed.root):.0f} MB")
    show(", ".join(f"{name} {size:.0f}" for name, size in largest))
    assert installed.seconds < INSTALL_SECONDS_MAX
    assert running.seconds < ANSWER_SECONDS_MAX


def test_the_guide_works_without_what_the_container_leaves_out(
    installed: Installation, tmp_path: Path
) -> None:
    root = tmp_path / "environment"
    shutil.copytree(installed.root, root, symlinks=True)
    recipe = (Path(__file__).parents[2] / "deploy" / "container" / "Containerfile").read_text()
    for name in UNUSED_PARTS:
        assert f" {name} " in recipe.replace("\\\n", "")
    trimmed = Installation(root, 0)
    arrow = trimmed.packages / "pyarrow"
    for path in [path for name in UNUSED_PARTS for path in arrow.glob(name)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    script = root / "bin" / "treadle"
    script.write_text(script.read_text().replace(str(installed.root), str(root)))
    (tmp_path / "empty").mkdir()
    for server in serve(trimmed, tmp_path / "empty"):
        walk_guide(server)
        show(f"environment {megabytes(root):.0f} MB, pyarrow {megabytes(arrow):.0f} MB")


def test_all_hashes_are_required_where_somebody_wants_that(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    [locked] = wheel.parent.glob("*.locked.txt")
    python = str(tmp_path / "environment" / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check"]
    found = ["--find-links", str(wheel.parent), "--requirement", str(locked)]
    run(*pip, "--require-hashes", *found, cwd=tmp_path)
    assert "treadle" in run(python, "-m", "treadle", "--version", cwd=tmp_path)
    run(python, "-m", "pip", "check", cwd=tmp_path)
