"""The machines of one run, and how they are put together: switch, control plane, nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.cluster import control_plane, images, network, node
from tests.cluster.machine import Machine
from tests.cluster.pki import ClusterKeys
from tests.cluster.settings import (
    API_ADDRESS,
    CLUSTER_DOMAIN,
    DNS_SERVICE_ADDRESS,
    Run,
    node_address,
    pod_range,
)

_NODE = "node"
_RESOLV_CONF = f"""\
nameserver {DNS_SERVICE_ADDRESS}
search default.svc.{CLUSTER_DOMAIN} svc.{CLUSTER_DOMAIN} {CLUSTER_DOMAIN}
options ndots:5
"""


@dataclass(frozen=True)
class Machines:
    """What a run consists of. All state is on the machine; this only knows the names."""

    run: Run

    @property
    def switch(self) -> Machine:
        """What every other machine hangs on; clients run here."""
        return Machine(self.run, "switch", private_folders=False)

    @property
    def control_plane(self) -> Machine:
        """API server, etcd, controllers, scheduler, and what add-ons run beside them."""
        return Machine(self.run, "control-plane")

    def node(self, name: str) -> Machine:
        """A node, whether it is running or not."""
        return Machine(self.run, name)

    def node_names(self) -> list[str]:
        """All nodes that ever were, in the order in which they were made."""
        numbers = sorted(_number(path.name) for path in self.run.folder.glob(f"{_NODE}*"))
        return [node_name(number) for number in numbers]

    def running_nodes(self) -> list[str]:
        """Those of them whose machine is running."""
        return [name for name in self.node_names() if self.node(name).running]

    def next_node(self) -> int:
        """A number that no node has had."""
        names = self.node_names()
        return _number(names[-1]) + 1 if names else 1

    def everyone(self) -> list[Machine]:
        """Every machine, running or not."""
        return [self.switch, self.control_plane, *(self.node(name) for name in self.node_names())]

    def start_network(self, programs: Path) -> None:
        """Switch and control plane, connected, with nothing running on them yet."""
        init = programs / "pause"
        self.switch.start(init, _RESOLV_CONF)
        network.start_switch(self.switch)
        self.control_plane.start(init, "")
        network.connect(self.switch, self.control_plane, API_ADDRESS)

    def start_control_plane(self, programs: Path) -> None:
        """From its machine to a ready API server."""
        control_plane.start(self.control_plane, programs, self.run.pki)

    def start_node(self, number: int, programs: Path) -> None:
        """A machine, its cable, and what a node runs. Each node is a zone of its own."""
        machine = self.node(node_name(number))
        machine.start(programs / "pause", "")
        network.connect(self.switch, machine, node_address(number), pod_range(number))
        place = node.Place(node_address(number), pod_range(number), zone=f"zone-{number}")
        node.start(machine, programs, ClusterKeys.load(self.run.pki), place, images.pause())

    def expect_alive(self, nodes: list[str]) -> None:
        """See that no daemon has ended.

        Raises:
            ClusterError: one has; the message holds its last lines.
        """
        control_plane.check(self.control_plane)
        for name in nodes:
            node.check(self.node(name))


def node_name(number: int) -> str:
    """Nodes are counted from 1."""
    return f"{_NODE}{number}"


def _number(name: str) -> int:
    return int(name.removeprefix(_NODE))
