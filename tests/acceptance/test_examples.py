"""The examples of all commands are typed, one after the other, beside a server."""

import contextlib
import io
import os
import shlex
from pathlib import Path

import pytest
from tests.servers.treadle import TreadleServer, eventually

from treadle.cli.examples import EXAMPLE_FILES, EXAMPLES
from treadle.cli.main import main


def type_line(line: str) -> tuple[int, str]:
    """Exit code and output of a line, run in this process: it is ten times as quick."""
    _, *words = shlex.split(line)
    redirected = {}
    for sign in ("<", ">"):
        if sign in words:
            at = words.index(sign)
            redirected[sign] = words[at + 1]
            del words[at : at + 2]
    out, err = io.StringIO(), io.StringIO()
    given = io.StringIO(Path(redirected["<"]).read_text() if "<" in redirected else "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", given)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(words)
            except SystemExit as ended:  # of a help
                code = int(str(ended.code))
    if ">" in redirected:
        Path(redirected[">"]).write_text(out.getvalue())
        assert out.getvalue()
    return code, out.getvalue() + err.getvalue()


@pytest.mark.file_store  # one of them makes a backup
def test_the_examples_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TREADLE_")]:
        monkeypatch.delenv(name)
    for name, content in EXAMPLE_FILES.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    monkeypatch.chdir(tmp_path)
    failed = []
    with TreadleServer(tmp_path / "treadle-data", settings={"load_age_seconds": "0.1"}):
        for example in EXAMPLES:
            if not example.needs:
                if example.words == ("rejects", "causes"):
                    eventually(lambda: "refunds" in type_line("treadle rejects list")[1])
                code, said = type_line(example.line)
                # The doctor judges the machine of the test, too.
                if code and not (code == 1 and example.words == ("doctor",)):
                    failed.append((example.line, code, said))
    assert failed == []
