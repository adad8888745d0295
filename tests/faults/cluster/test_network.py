"""Nodes in namespaces that are cut apart; skipped where they cannot be had."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.faults.cluster.network import (
    NamespaceNetwork,
    NetworkNode,
    NoNetworkError,
    choose_prefix,
    list_directions,
)

SAY = """
import socket
with socket.create_server(("{address}", 5000)) as server:
    print("ready", flush=True)
    while True:
        client, _ = server.accept()
        client.sendall(b"hello")
        client.close()
"""
ASK = """
import socket
with socket.create_connection(("{address}", 5000), timeout=0.5) as server:
    print(server.recv(9).decode())
"""


@pytest.fixture
def network() -> Iterator[NamespaceNetwork]:
    try:
        entered = NamespaceNetwork().__enter__()
    except NoNetworkError as error:
        pytest.skip(str(error))
    try:
        yield entered
    finally:
        entered.close()


def run(node: NetworkNode, program: str) -> list[str]:
    return node.wrap([sys.executable, "-c", program])


def test_a_cut_loses_what_one_node_sends_until_it_is_healed(network: NamespaceNetwork) -> None:
    here, there = network.add("here"), network.add("there")
    serving = subprocess.Popen(
        run(there, SAY.format(address=there.address)), stdout=subprocess.PIPE, text=True
    )

    def hear() -> str:
        program = ASK.format(address=there.address)
        return subprocess.run(
            run(here, program), capture_output=True, text=True, check=False
        ).stdout.strip()

    try:
        assert serving.stdout is not None
        assert serving.stdout.readline() == "ready\n"
        assert hear() == "hello"
        network.cut("here", "there")
        assert hear() == ""
        network.cut("here", "there")  # two faults have this pair in common
        network.heal("here", "there")
        assert hear() == ""
        network.heal("here", "there")
        assert hear() == "hello"
        network.cut("there", "here")
        assert hear() == ""
        network.heal_all()
        assert hear() == "hello"
    finally:
        serving.kill()
        serving.wait()
        if serving.stdout is not None:
            serving.stdout.close()


def test_a_program_keeps_its_process_id_in_a_namespace(network: NamespaceNetwork) -> None:
    node = network.add("node")
    with subprocess.Popen(
        run(node, "import os; print(os.getpid())"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.communicate()[0] == f"{process.pid}\n"


def test_whoever_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoNetworkError, match="need root"):
        NamespaceNetwork().__enter__()


def test_a_cut_has_a_direction() -> None:
    assert list_directions("a", "b", "to") == [("a", "b")]
    assert list_directions("a", "b", "from") == [("b", "a")]
    assert list_directions("a", "b", "both") == [("a", "b"), ("b", "a")]


def test_a_network_takes_addresses_that_no_other_has() -> None:
    assert choose_prefix(7, "1: lo    inet 127.0.0.1/8 scope host lo") == "198.18.7"
    taken = "9: tr0007    inet 198.18.7.1/24 scope global tr0007"
    assert choose_prefix(7, taken) == "198.18.8"
    assert choose_prefix(256 + 7, taken) == "198.18.8"
    every = "".join(f"    inet 198.18.{number}.1/24" for number in range(256))
    with pytest.raises(NoNetworkError, match="in use"):
        choose_prefix(7, every)
