"""Completion: bash is asked itself; zsh and fish where they are there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from treadle.cli.completion import SHELLS, make_tree, write_completion
from treadle.cli.main import GROUPS, build_parser

TREE = make_tree(build_parser()[1], GROUPS)

ASK = """
source {script}
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_treadle
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bash") / "treadle"
    file.write_text(write_completion("bash", TREE))
    return file


@pytest.mark.parametrize(
    ("typed", "proposed"),
    [
        ("so", ["source"]),
        ("source cr", ["create"]),
        ("account token re", ["replace", "revoke"]),
        ("push --seq", ["--sequence-field"]),
        ("push file --tab", ["--table"]),
        ("console --role ", ["viewer", "operator", "admin"]),
        ("console --role op", ["operator"]),
        ("push fi", [""]),
        ("source list x", [""]),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_proposes(typed: str, proposed: list[str], script: Path) -> None:
    words = typed.split(" ")
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK.format(script=script), "bash", "treadle", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.removesuffix("\n").split("\n") == proposed


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_flag_is_in_the_script(shell: str) -> None:
    text = write_completion(shell, TREE)
    for words, flags in TREE.flags.items():
        assert words[-1] in text
        for flag in flags:
            assert flag.name.removeprefix("--" if shell == "fish" else "") in text


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_can_read_the_script(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "script"
    file.write_text(write_completion(shell, TREE))
    done = subprocess.run([program, "-n", file], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
