"""`treadle completion`: prints the script by which a shell completes commands and flags."""

import argparse
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from treadle.cli.command import Arguments, CliCommand, CommandParser
from treadle.cli.output import print_text
from treadle.config import Config

SHELLS = ("bash", "zsh", "fish")

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompletedFlag:
    """A flag that a shell proposes.

    Attributes:
        name: with its dashes.
        help: one line.
        choices: its values, where they are known.
    """

    name: str
    help: str
    choices: Words = ()


@dataclass(frozen=True, slots=True)
class CompletionTree:
    """All that a shell proposes.

    Attributes:
        children: words of a command so far -> the words that may follow, with their help.
        flags: words of a command -> its flags.
    """

    children: Mapping[Words, Mapping[str, str]]
    flags: Mapping[Words, Sequence[CompletedFlag]]


def make_tree(leaves: Mapping[Words, CommandParser], groups: Mapping[Words, str]) -> CompletionTree:
    """Return what can be completed.

    Args:
        leaves: the parser of each command.
        groups: the help of each group of commands.
    """
    children: dict[Words, dict[str, str]] = {}
    flags: dict[Words, list[CompletedFlag]] = {}
    for words, parser in leaves.items():
        for depth in range(len(words)):
            path = words[: depth + 1]
            told = (parser.description or "") if path == words else groups.get(path, "")
            children.setdefault(words[:depth], {})[words[depth]] = told.rstrip(".")
        flags[words] = [
            CompletedFlag(
                action.option_strings[-1],
                (action.help or "").partition(" [TREADLE_")[0].replace("%%", "%"),
                tuple(map(str, action.choices or ())),
            )
            for action in parser._actions  # argparse has no public list of them
            if action.option_strings and action.help != argparse.SUPPRESS
        ]
    return CompletionTree(children, flags)


def write_completion(shell: str, tree: CompletionTree) -> str:
    """Return the script for a shell, one of SHELLS."""
    return {"bash": _write_bash, "zsh": _write_zsh, "fish": _write_fish}[shell](tree)


def _write_cases(entries: Iterable[tuple[Words, str]]) -> list[str]:
    return [f"    {shlex.quote(' '.join(words))}) {text} ;;" for words, text in entries]


def _list_values(tree: CompletionTree) -> list[tuple[Words, str]]:
    """Return the values of flags: words of the command and the flag, and the values."""
    return [
        ((*words, flag.name), " ".join(flag.choices))
        for words, flags in tree.flags.items()
        for flag in flags
        if flag.choices
    ]


def _write_bash(tree: CompletionTree) -> str:
    return "\n".join(
        (
            "# Completion of treadle for bash: source it, or put it into",
            "# ~/.local/share/bash-completion/completions/treadle",
            "_treadle_words() {",
            '  case "$1" in',
            *_write_cases(
                (words, f"echo {shlex.quote(' '.join(names))}")
                for words, names in tree.children.items()
            ),
            "  esac",
            "}",
            "_treadle_flags() {",
            '  case "$1" in',
            *_write_cases(
                (words, f"echo {shlex.quote(' '.join(flag.name for flag in flags))}")
                for words, flags in tree.flags.items()
            ),
            "  esac",
            "}",
            "_treadle_values() {",
            '  case "$1" in',
            *_write_cases(
                (words, f"echo {shlex.quote(text)}") for words, text in _list_values(tree)
            ),
            "  esac",
            "}",
            "_treadle() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" called="" word number values',
            "  for ((number = 1; number < COMP_CWORD; number++)); do",
            '    word="${COMP_WORDS[number]}"',
            '    case " $(_treadle_words "$called") " in',
            '      *" $word "*) called="${called:+$called }$word" ;;',
            "      *) break ;;",
            "    esac",
            "  done",
            '  values="$(_treadle_values "$called ${COMP_WORDS[COMP_CWORD - 1]}")"',
            '  if [[ -z "$values" && "$current" == -* ]]; then',
            '    values="$(_treadle_flags "$called")"',
            "  fi",
            '  if [[ -z "$values" ]]; then values="$(_treadle_words "$called")"; fi',
            "  # Without any, bash proposes files.",
            '  COMPREPLY=($(compgen -W "$values" -- "$current"))',
            "}",
            "complete -o default -F _treadle treadle",
        )
    )


def _write_zsh(tree: CompletionTree) -> str:
    def describe(names: Mapping[str, str]) -> str:
        return " ".join(
            shlex.quote(f"{name.replace(':', chr(92) + ':')}:{told}")
            for name, told in names.items()
        )

    return "\n".join(
        (
            "#compdef treadle",
            "# Completion of treadle for zsh: put it as _treadle into a folder of $fpath, or",
            "# type: source <(treadle completion zsh)",
            "_treadle() {",
            '  local called="" word known=1',
            "  local -a names flags values",
            "  _treadle_look() {",
            "    names=() flags=() values=()",
            '    case "$1" in',
            *_write_cases(
                (words, f"names=({describe(names)})") for words, names in tree.children.items()
            ),
            *_write_cases(
                (words, f"flags=({describe({flag.name: flag.help for flag in flags})})")
                for words, flags in tree.flags.items()
            ),
            *_write_cases((words, f"values=({text})") for words, text in _list_values(tree)),
            "    esac",
            "  }",
            '  _treadle_look ""',
            "  for word in ${words[2,CURRENT-1]}; do",
            '    if (( known )) && [[ -n "${(M)names:#$word:*}" ]]; then',
            '      called="${called:+$called }$word"',
            '      _treadle_look "$called"',
            "    else",
            "      known=0",
            "    fi",
            "  done",
            '  _treadle_look "$called ${words[CURRENT-1]}"',
            "  if (( $#values )); then compadd -a values; return; fi",
            '  _treadle_look "$called"',
            "  if (( $#names )); then _describe command names",
            '  elif [[ "$PREFIX" == -* ]]; then _describe flag flags',
            "  else _files; fi",
            "}",
            'if [[ "${funcstack[1]}" == _treadle ]]; then _treadle "$@"',
            "else compdef _treadle treadle; fi",
        )
    )


def _write_fish(tree: CompletionTree) -> str:
    lines = [
        "# Completion of treadle for fish: put it into ~/.config/fish/completions/treadle.fish",
        "function __treadle_at",
        "    set -l typed (commandline -opc)[2..-1]",
        '    test "$typed" = "$argv"',
        "end",
        "function __treadle_in",
        "    set -l typed (commandline -opc)[2..-1]",
        "    set -l number (count $argv)",
        "    test (count $typed) -ge $number",
        '    and test "$typed[1..$number]" = "$argv"',
        "end",
    ]
    for words, names in tree.children.items():
        at = shlex.quote(" ".join(("__treadle_at", *words)))
        lines += [
            f"complete -c treadle -f -n {at} -a {name} -d {_quote_fish(told)}"
            for name, told in names.items()
        ]
    for words, flags in tree.flags.items():
        inside = shlex.quote(" ".join(("__treadle_in", *words)))
        for flag in flags:
            values = f" -x -a {_quote_fish(' '.join(flag.choices))}" if flag.choices else ""
            lines.append(
                f"complete -c treadle -n {inside} -l {flag.name.removeprefix('--')}"
                f" -d {_quote_fish(flag.help)}{values}"
            )
    return "\n".join(lines)


def _quote_fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shell", metavar="SHELL", choices=SHELLS, help=f"the shell: {', '.join(SHELLS)}"
    )


def print_completion(config: Config, arguments: Arguments) -> int:
    """Print the script for a shell."""
    print_text(write_completion(arguments.shell, arguments.describe_commands()))
    return 0


COMMAND = CliCommand(
    words=("completion",),
    help="print the script by which bash, zsh or fish completes commands and flags",
    run=print_completion,
    arguments=_arguments,
    run_without_settings=lambda _, arguments: print_completion(Config(), arguments),
    opens_data=False,
)
