"""Words, flags, help and exit codes."""

import errno
import subprocess
import sys

import pytest

from treadle import __version__
from treadle.cli import main as module
from treadle.cli.command import Arguments, CliCommand, collect_flags, parse_digits
from treadle.cli.main import COMMANDS, build_parser, check_spelling, main, make_sentence
from treadle.config import SETTINGS, Config
from treadle.errors import InternalError, OperatorError, RetriableError, TreadleError


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c.words))
def test_the_help_of_every_command_names_the_variable_of_every_flag(
    command: CliCommand, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as ended:
        main([*command.words, "--help"])
    assert ended.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert {"data", "config"} <= {setting.name for setting in command.flags}
    for setting in command.flags:
        flag = f"{setting.option} {setting.name.upper()}"
        assert f"{flag} {setting.help} [{setting.variable}; default: " in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("source", "Say which command: `treadle source` is followed by adopt, create, "),
        ("srve", "There is no command `treadle srve`; did you mean `treadle serve`?"),
        ("xyzzy", "There is no command `treadle xyzzy`; see `treadle --help`."),
        (
            "source crate x",
            "There is no command `treadle source crate`; did you mean `treadle source create`?",
        ),
        (
            "account token",
            (
                "Say which command: `treadle account token` is followed by create, delete, "
                "disable, enable, expire, list, note, replace or revoke; "
                "`treadle account token --help` explains them."
            ),
        ),
        ("serve --prot 1", "`treadle serve` has no flag --prot; did you mean --port?"),
        ("push --tabel t", "`treadle push` has no flag --tabel; did you mean --table?"),
        ("serve --xyzzy=1", "`treadle serve` has no flag --xyzzy; see `treadle serve --help`."),
        ("serve --por 1", "`treadle serve` has no flag --por; did you mean --port?"),
        ("serve now", "`treadle serve` cannot use 'now'; see `treadle serve --help`."),
        ("serve -x", "`treadle serve` cannot use '-x'; see `treadle serve --help`."),
        (
            "push f --key id",
            "The following arguments are required: --table; see `treadle push --help`.",
        ),
        ("serve --port", "Argument --port: expected one argument; see `treadle serve --help`."),
        ("serve --port 99999", "--port is to be a whole number from 0 to 65535, not '99999'."),
        ("serve --secret-key 1", "`treadle serve` has no flag --secret-key;"),
        (f"log open {2**63}", "LOG is to be the number of a log, not '9223372036854775808'."),
        ("log close " + "9" * 5_000, "LOG is to be the number of a log, not '9999"),
    ],
)
def test_a_wrong_line_is_answered_with_a_sentence(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"treadle: {said}")
    assert captured.err.count("\n") == 1


def test_a_wrong_variable_is_answered_by_every_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_PUSH_TOKN", "x")
    assert main(["account", "list"]) == 2
    assert "did you mean TREADLE_PUSH_TOKEN?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("0", 0), ("007", 7), (str(2**63 - 1), 2**63 - 1), ("0" * 5_000 + "1", 1)),
        *((str(2**63), None), ("9" * 5_000, None), ("-1", None), ("1_0", None), ("١", None)),  # noqa: RUF001
        *(("", None), ("1.0", None), ("²", None)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_number_is_digits_below_2_to_the_63(text: str, number: int | None) -> None:
    assert parse_digits(text) == number


def test_a_statement_that_begins_with_dashes_is_no_flag() -> None:
    module.check_spelling(["query", "-- all of them\nselect 1"], build_parser()[1])
    module.check_spelling(["query", "--", "--all"], build_parser()[1])


def test_a_flag_is_found_by_its_former_name_too() -> None:
    parser, leaves = build_parser()
    line = ["serve", "--surface", "modern"]
    check_spelling(line, leaves)
    flags = collect_flags(parser.parse_args(line), SETTINGS)
    assert Config.read(flags, {}).connect_api_era == "modern"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"treadle {__version__}\n"


def ending_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def run(_: Config, __: Arguments) -> int:
        raise error

    monkeypatch.setattr(module, "COMMANDS", (CliCommand(("serve",), "run", run),))
    return main(["serve"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OperatorError("the key is lost"), 2, "treadle: The key is lost.\n"),
        (RetriableError("Wait."), 2, "treadle: Wait.\n"),
        (TreadleError("two\nlines"), 2, "treadle: Two lines.\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ending_with(error, monkeypatch) == code
    assert capsys.readouterr().err == said


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InternalError):
        ending_with(InternalError("a promise"), monkeypatch)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://x answers", "http://x answers."),
        ("--port is wrong", "--port is wrong."),
        ("did you mean x?", "Did you mean x?"),
    ],
)
def test_sentences(text: str, expected: str) -> None:
    assert make_sentence(text) == expected


def test_python_m_treadle_is_treadle() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "treadle", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"treadle {__version__}\n")


def run_printing(code: str, shell: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that prints, in a line of a shell where `{}` is the program."""
    program = (
        "import sys; from treadle.cli import main as m;"
        f" m._run = lambda argv, umask: {code};"
        " sys.exit(m.main([]))"
    )
    line = shell.replace("{}", f"{sys.executable} -c '{program}'")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)


def test_output_that_nobody_reads_ends_quietly() -> None:
    done = run_printing(
        "[print(i) for i in range(100000)] and 0", "{} | head -1; exit ${PIPESTATUS[0]}"
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "0\n", "")


@pytest.mark.parametrize("errors", ["", "2>&1"])
def test_a_full_disk_behind_the_output_is_an_error(errors: str) -> None:
    done = run_printing("print(1) or 1", f"{{}} > /dev/full {errors}")
    said = "The output or a file cannot be written: No space left on device; make room, or write "
    assert done.returncode == 2
    assert done.stderr == ("" if errors else f"treadle: {said}elsewhere.\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Not allowed", "/"),
            "/ cannot be used: Not allowed; run treadle as the user that it belongs to, root.",
        ),
        (
            PermissionError(errno.EACCES, "Not allowed", "/no/file"),
            "/no/file cannot be used: Not allowed; run treadle as the user that it belongs to.",
        ),
        (
            OSError(errno.EROFS, "Read-only", "/d"),
            "/d cannot be written: Read-only; make the disk writable, or name another folder.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/d"),
            "/d cannot be written: No space left on device; make room, or write elsewhere.",
        ),
    ],
)
def test_a_file_that_this_user_may_not_use_is_no_traceback(
    error: OSError, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(argv: list[str], user_umask: int) -> int:
        raise error

    monkeypatch.setattr(module, "_run", run)
    assert main(["status"]) == 2
    assert capsys.readouterr().err == f"treadle: {said}\n"


def test_another_error_of_the_system_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(argv: list[str], user_umask: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, "_run", run)
    with pytest.raises(OSError, match="Input/output"):
        main(["status"])
