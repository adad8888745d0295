"""The checks of `treadle doctor` as a task process of the desk runs them, for the API."""

import time

from treadle.http.address_policy import AddressPolicy
from treadle.http.responses import encode_json
from treadle.log.registry import find_damage, open_reader
from treadle.log.salvage_report import KnownLog
from treadle.maintenance.doctor.checks import examine
from treadle.maintenance.doctor.findings import render_findings
from treadle.questions.orders import AnswerNote, TaskOrder, decode_value, encode_value
from treadle.server.child_channel import decode_orders


def examine_installation(payload: bytes) -> bytes:
    """Run the quick checks, and write the findings as the command prints them in JSON.

    Args:
        payload: a `TaskOrder` with the settings of the server.

    Returns:
        An `AnswerNote`.
    """
    task = decode_value(payload, TaskOrder)
    config = decode_orders(task.order)
    began = time.monotonic()
    found = list(
        examine(
            config,
            lambda: open_reader(config),
            lambda: find_damage(config, KnownLog()),
            whole=False,
            check_address=AddressPolicy(allows_loopback=config.destinations_local).check,
        )
    )
    task.path.write_bytes(encode_json(render_findings(found)))
    return encode_value(AnswerNote(len(found), False, (time.monotonic() - began) * 1000))
