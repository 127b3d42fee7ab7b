"""The network of a run: a switch that every machine hangs on, and that routes to the pods.

Nothing is created in the host's network namespace, so the host's addresses, routes and rules stay
as they are.
"""

from __future__ import annotations

from tests.cluster.machine import Machine
from tests.cluster.settings import HOST_ADDRESS, PREFIX_LENGTH, SERVICE_NETWORK

_BRIDGE = "br0"


def start_switch(switch: Machine) -> None:
    """Make the bridge and let it route."""
    _ip(
        switch,
        "link set lo up",
        f"link add {_BRIDGE} type bridge",
        f"address add {HOST_ADDRESS}/{PREFIX_LENGTH} dev {_BRIDGE}",
        f"link set {_BRIDGE} up",
        # Never sent there: kube-proxy rewrites the destination, but only of packets with a route.
        f"route add {SERVICE_NETWORK} dev {_BRIDGE}",
    )
    _sysctl(
        switch,
        **{
            "net/ipv4/ip_forward": "1",
            # It sends packets back out where they came in, on purpose.
            "net/ipv4/conf/all/send_redirects": "0",
            f"net/ipv4/conf/{_BRIDGE}/send_redirects": "0",
            # It switches frames between machines; filtering is theirs.
            "net/bridge/bridge-nf-call-iptables": "0",
        },
    )


def connect(switch: Machine, machine: Machine, address: str, pods: str | None = None) -> None:
    """Give the machine its address.

    Everything that is not local goes through the switch, pods' addresses included.
    """
    _ip(switch, f"link add {machine.name} type veth peer name eth0 netns {machine.init}")
    _ip(switch, f"link set {machine.name} master {_BRIDGE} up")
    _ip(
        machine,
        "link set lo up",
        f"address add {address}/{PREFIX_LENGTH} dev eth0",
        "link set eth0 up",
        f"route add default via {HOST_ADDRESS}",
    )
    _sysctl(machine, **{"net/ipv4/ip_forward": "1"})
    if pods:
        _ip(switch, f"route replace {pods} via {address}")


def cut(switch: Machine, machine: Machine) -> None:
    """Pull the machine's cable."""
    _ip(switch, f"link set {machine.name} down")


def mend(switch: Machine, machine: Machine) -> None:
    """Plug it in again."""
    _ip(switch, f"link set {machine.name} up")


def _ip(machine: Machine, *commands: str) -> None:
    machine.execute("ip", "-batch", "-", stdin="\n".join(commands) + "\n")


def _sysctl(machine: Machine, **values: str) -> None:
    # /proc/sys/net shows the namespace of whoever opens it.
    for name, value in values.items():
        machine.execute("sh", "-c", f"echo {value} > /proc/sys/{name}")
