"""A network of namespaces on this machine: each node has an address, and any two can be cut apart.

The nodes' ends of veth pairs are ports of one bridge. A cut gives one node a wrong hardware address
for the other, so that what it sends is lost without a word, as on a broken link: no refusal, no
reset. A cut both ways is two of these. It needs root and `ip`, and no filter in the kernel.
"""

import contextlib
import os
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

ADDRESSES: Final = "198.18"
"""Networks for measurements (RFC 2544): no machine is reached by them."""

LOST_ADDRESS: Final = "02:00:00:00:00:99"
"""A hardware address that no port has."""


class NoNetworkError(RuntimeError):
    """Namespaces cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class NetworkNode:
    """A namespace of the network.

    Attributes:
        name: in the rig.
        namespace: for `ip netns`.
        address: IPv4.
    """

    name: str
    namespace: str
    address: str

    def wrap(self, command: Sequence[str], user: int | None = None, group: int = 0) -> list[str]:
        """Return a command that runs another one in the namespace.

        The process keeps its id: the program replaces itself by the other.

        Args:
            command: what to run.
            user: as whom; as ourselves by default.
            group: of the user.
        """
        into = ["nsenter", f"--net=/run/netns/{self.namespace}"]
        if user is not None:
            into += [f"--setuid={user}", f"--setgid={group}"]
        return [*into, "--", *command]


class NamespaceNetwork:
    """The bridge and its nodes; a context manager that removes them.

    Raises:
        NoNetworkError: entered where it cannot be had: not root, no `ip`, or the kernel refuses.
    """

    def __init__(self) -> None:
        self._bridge = f"tr{os.getpid() % 65_536:04x}"
        self._prefix = ""
        self._nodes: dict[str, NetworkNode] = {}
        self._cuts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise NoNetworkError("network namespaces need root, and this is another user")
        for program in ("ip", "nsenter"):
            if shutil.which(program) is None:
                raise NoNetworkError(f"network namespaces need the program {program}")
        try:
            self._prefix = choose_prefix(os.getpid(), self._ip("-o", "-4", "address", "show"))
            self._ip("link", "add", self._bridge, "type", "bridge")
            self._ip("address", "add", f"{self.address}/24", "dev", self._bridge)
            self._ip("link", "set", self._bridge, "up")
        except NoNetworkError:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where this process is seen by the nodes."""
        return f"{self._prefix}.1"

    @property
    def nodes(self) -> list[NetworkNode]:
        """All that were added."""
        return list(self._nodes.values())

    def add(self, name: str) -> NetworkNode:
        """Make a node."""
        number = 10 + len(self._nodes)
        node = NetworkNode(name, f"{self._bridge}-{name}", f"{self._prefix}.{number}")
        port = f"{self._bridge}v{number}"
        self._ip("netns", "add", node.namespace)
        self._nodes[name] = node
        its = ("-n", node.namespace)
        self._ip("link", "add", port, "type", "veth", "peer", "eth0", "netns", node.namespace)
        self._ip("link", "set", port, "master", self._bridge, "up")
        self._ip(*its, "address", "add", f"{node.address}/24", "dev", "eth0")
        self._ip(*its, "link", "set", "lo", "up")
        self._ip(*its, "link", "set", "eth0", "up")
        return node

    def get(self, name: str) -> NetworkNode:
        """Return a node by its name."""
        return self._nodes[name]

    def cut(self, sender: str, receiver: str) -> None:
        """Lose what one node sends to another from now on."""
        to = self._nodes[receiver].address
        lost = ("lladdr", LOST_ADDRESS, "nud", "permanent", "dev", "eth0")
        with self._lock:
            self._cuts[sender, receiver] += 1
            self._ip("-n", self._nodes[sender].namespace, "neighbour", "replace", to, *lost)

    def heal(self, sender: str, receiver: str) -> None:
        """Let pass what one node sends to another, once all faults are healed that lose it.

        What a node sends to all others and what another one is sent by all have a pair in common.
        """
        to = self._nodes[receiver].address
        with self._lock:
            self._cuts[sender, receiver] -= 1
            if self._cuts[sender, receiver] > 0:
                return
            del self._cuts[sender, receiver]
            self._ip("-n", self._nodes[sender].namespace, "neighbour", "del", to, "dev", "eth0")

    def heal_all(self) -> None:
        """Let everything pass."""
        for sender, receiver in list(self._cuts.elements()):
            self.heal(sender, receiver)

    def close(self) -> None:
        """Remove the nodes and the bridge, whatever is there of them."""
        for node in self._nodes.values():
            with contextlib.suppress(NoNetworkError):
                self._ip("netns", "delete", node.namespace)
        self._nodes.clear()
        self._cuts.clear()
        with contextlib.suppress(NoNetworkError):
            self._ip("link", "delete", self._bridge)

    def _ip(self, *words: str) -> str:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoNetworkError(f"ip {' '.join(words)} failed: {done.stderr.strip()}")
        return done.stdout


def choose_prefix(number: int, addresses: str) -> str:
    """Return the first three numbers of addresses that no other network here has.

    Args:
        number: where the search begins, so that two runs seldom take the same at once.
        addresses: those of this machine, as `ip -o -4 address show` lists them.

    Raises:
        NoNetworkError: all of them are taken.
    """
    for place in range(256):
        prefix = f"{ADDRESSES}.{(number + place) % 256}"
        if f" {prefix}." not in addresses:
            return prefix
    raise NoNetworkError(f"all networks of {ADDRESSES}.0.0/16 are in use")


def list_directions(first: str, second: str, direction: str) -> list[tuple[str, str]]:
    """Return who is not heard by whom.

    Args:
        first, second: names of nodes.
        direction: one of `schedule.DIRECTIONS`, as the first one sees it.
    """
    ways = {"to": [(first, second)], "from": [(second, first)]}
    return ways.get(direction, [(first, second), (second, first)])
