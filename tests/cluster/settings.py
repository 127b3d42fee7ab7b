"""Names, places and addresses of one run, and what the environment says about them.

Runs differ in names and folders only: their addresses never meet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CLUSTER_DOMAIN = "cluster.local"

# All of it lives in network namespaces of the run: it clashes neither with the host nor with
# another run.
HOST_ADDRESS = "10.99.0.254"  # the switch: clients, webhooks and metric adapters run there
API_ADDRESS = "10.99.0.1"
API_PORT = 6443
PREFIX_LENGTH = 24
SERVICE_NETWORK = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
POD_NETWORK = "10.244.0.0/16"

_FIRST_NODE = 10
_MOST_NODES = 200
_RUN_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_HIDDEN_IN_MACHINES = ("/run", "/var/run", "/var/lib", "/var/log")
# Not /tmp: that may be a tmpfs, which cannot carry the nodes' overlay mounts. Only root writes
# here, and the folders of a run are made by that run.
_STATE = Path("/var/tmp/localcluster")  # noqa: S108  # see above


def node_address(number: int) -> str:
    """The address of a node.

    Raises:
        ValueError: there is no room for a node of this number.
    """
    if not 1 <= number <= _MOST_NODES:
        raise ValueError(f"node number {number} is not between 1 and {_MOST_NODES}")
    return f"10.99.0.{_FIRST_NODE + number}"


def pod_range(number: int) -> str:
    """The network that the pods of a node have their addresses from."""
    return f"10.244.{number}.0/24"


def variable(name: str) -> str:
    """What the environment says, empty when nothing. The rig reads it through here alone."""
    return os.environ.get(name, "")  # noqa: TID251  # this module is the rig's settings


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that started programs get: this process's, with changes."""
    return {**os.environ, **(changes or {})}  # noqa: TID251  # handed on, not read


def cache_folder() -> Path:
    """Built programs and images, shared by all runs and kept between them."""
    default = Path(variable("XDG_CACHE_HOME") or Path.home() / ".cache") / "localcluster"
    return _seen_by_machines("LOCALCLUSTER_CACHE", default)


def state_folder() -> Path:
    """Parent of the runs' folders. On a disk that can carry overlay mounts."""
    return _seen_by_machines("LOCALCLUSTER_STATE", _STATE)


def _seen_by_machines(name: str, default: Path) -> Path:
    folder = Path(variable(name) or default).resolve()
    if any(folder.is_relative_to(hidden) for hidden in _HIDDEN_IN_MACHINES):
        raise ValueError(f"{name} may not lie in {folder}: machines cover that place")
    return folder


@dataclass(frozen=True)
class Run:
    """One cluster's name and where everything of it is kept."""

    name: str

    def __post_init__(self) -> None:
        if not _RUN_NAME.fullmatch(self.name):
            raise ValueError(f"run name {self.name!r} must match {_RUN_NAME.pattern}")

    @property
    def folder(self) -> Path:
        """All of its state."""
        return state_folder() / self.name

    @property
    def cgroup(self) -> str:
        """The control group above all of its processes."""
        return f"localcluster-{self.name}"

    @property
    def pki(self) -> Path:
        """Keys, certificates, kubeconfigs."""
        return self.folder / "pki"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, for programs in the cluster's network."""
        return self.pki / "admin.kubeconfig"

    @property
    def host_kubeconfig(self) -> Path:
        """The administrator's, for programs of this machine."""
        return self.folder / "kubeconfig"
