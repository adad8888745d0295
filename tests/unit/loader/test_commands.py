import threading

import pytest

from treadle.loader.commands import (
    POLL_SECONDS,
    AssignSources,
    CommandQueue,
    RetireLoader,
    SetBacklog,
    StopLoader,
    choose_pause,
)

Command = AssignSources | SetBacklog | RetireLoader | StopLoader


def test_commands_are_received_once_in_the_order_in_which_they_were_put() -> None:
    commands = CommandQueue[Command]()
    assert commands.receive() == []
    for command in (AssignSources({}), StopLoader()):
        commands.put(command)
    assert commands.receive() == [AssignSources({}), StopLoader()]
    assert commands.receive() == []


def test_a_newer_command_takes_the_place_of_an_older_one_of_its_kind() -> None:
    commands = CommandQueue[Command]()
    old, new = SetBacklog([]), SetBacklog([])
    for command in (old, AssignSources({}), new):
        commands.put(command)
    found = commands.receive()
    assert found == [AssignSources({}), new]
    assert found[1] is new


def test_who_waits_is_woken_by_a_command_and_does_not_wait_for_ever() -> None:
    commands = CommandQueue[Command]()
    assert commands.receive(0.001) == []
    timer = threading.Timer(0.01, commands.put, [StopLoader()])
    timer.start()
    assert commands.receive(60) == [StopLoader()]
    timer.join()


@pytest.mark.parametrize(
    ("age_us", "pause"),
    [(60_000_000, 0.25), (1_000_000, 0.25), (400_000, 0.1), (200_000, 0.05), (0, 0.05)],
)
def test_an_idle_loader_looks_seldom_and_well_before_a_record_is_due(
    age_us: int, pause: float
) -> None:
    assert choose_pause(age_us, is_busy=False) == pytest.approx(pause)
    assert choose_pause(age_us, is_busy=True) == POLL_SECONDS
