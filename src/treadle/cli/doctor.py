"""`treadle doctor`: finds what is wrong around treadle, and says what to do."""

import argparse
from functools import partial
from typing import TYPE_CHECKING, Final

from treadle.cli.command import Arguments, CliCommand
from treadle.cli.output import TextColor, print_json, print_labelled, print_line
from treadle.config import Config
from treadle.errors import OperatorError

if TYPE_CHECKING:
    from treadle.maintenance.doctor.findings import Finding


_COLORS: Final = {"good": TextColor.GREEN, "odd": TextColor.YELLOW, "bad": TextColor.RED}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="do not read every entry of the log")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run_doctor(config: Config, arguments: Arguments) -> int:
    """Print every finding; return 1 if one of them is bad."""
    from treadle.http.address_policy import AddressPolicy
    from treadle.log.registry import find_damage, open_file
    from treadle.log.salvage_report import KnownLog
    from treadle.maintenance.doctor.checks import examine
    from treadle.maintenance.doctor.findings import is_healthy

    found: list[Finding] = []
    findings = examine(
        config,
        partial(open_file, config),
        partial(find_damage, config, KnownLog()),
        whole=not arguments.quick,
        warnings=arguments.warnings,
        check_address=AddressPolicy(allows_loopback=config.destinations_local).check,
    )
    for finding in findings:
        found.append(finding)
        if not arguments.json:
            _print_finding(finding)
    return _print_summary(found, is_healthy(found), arguments)


def report_unreadable_settings(fault: OperatorError, arguments: Arguments) -> int:
    """Print as the only finding that the settings cannot be read: no other check can run."""
    from treadle.maintenance.doctor.findings import Finding

    finding = Finding(
        "settings",
        "bad",
        " ".join(str(fault).split()),
        "No command of treadle runs with it, and the server does not start.",
        "Correct it there.",
    )
    if not arguments.json:
        _print_finding(finding)
    return _print_summary([finding], False, arguments)


def _print_summary(found: "list[Finding]", well: bool, arguments: Arguments) -> int:
    if arguments.json:
        from treadle.maintenance.doctor.findings import render_findings

        print_json(render_findings(found))
    else:
        from treadle.maintenance.doctor.findings import summarize_levels

        print_line(f"{summarize_levels(one.level for one in found)}.")
    return 0 if well else 1


def _print_finding(finding: "Finding") -> None:
    from treadle.maintenance.doctor.findings import LEVEL_WORDS

    level, _ = LEVEL_WORDS[finding.level]
    # Flushed, because the next check may take long.
    print_labelled(
        f"{level.upper() if finding.level == 'bad' else level:<8}",
        _COLORS[finding.level],
        f"{finding.subject}: {finding.found}",
    )
    for text in (finding.meaning, finding.remedy):
        if text:
            print_line(f"        {text}", flush=True)


COMMAND = CliCommand(
    words=("doctor",),
    help="look for what is wrong with disk, clock, settings, store, key, log and destinations",
    run=run_doctor,
    arguments=_arguments,
    settings=("destination", "host", "port", "workers", "log_bytes", "disk_reserve_bytes"),
    run_without_settings=report_unreadable_settings,
    takes_warnings=True,
    opens_data=False,  # it judges the folder itself
)
