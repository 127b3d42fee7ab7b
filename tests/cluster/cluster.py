"""The cluster as a whole: up, down, and what a test does to it in between."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from tests.cluster import images, network, node, packages, preflight, relay
from tests.cluster.cgroups import Cgroup
from tests.cluster.commands import ClusterError, run
from tests.cluster.images import Image
from tests.cluster.machines import Machines, node_name
from tests.cluster.ownership import InUse, Ownership, known_names
from tests.cluster.pki import ClusterKeys, rewrite_server
from tests.cluster.programs import KUBERNETES
from tests.cluster.settings import API_ADDRESS, API_PORT, HOST_ADDRESS, Run, variable

LOOPBACK = "127.0.0.1"

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_READY_SECONDS = 240

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    """Nobody wants to see the progress."""


class Cluster:
    """One cluster, by the name of its run.

    The object holds only the lock: all other state is on the machine, so another object of the same
    name sees the same cluster.

    Args:
        name: of the run. Clusters of different names live side by side.
        progress: told of each step and its seconds.
    """

    def __init__(self, name: str, progress: Progress = _silent) -> None:
        self.run = Run(name)
        self.progress = progress
        self.machines = Machines(self.run)
        self._owner = Ownership(name)

    @property
    def name(self) -> str:
        """Of the run."""
        return self.run.name

    # -- life

    def up(self, nodes: int = 1) -> None:
        """From nothing to Ready nodes. A former cluster of this name is taken down first.

        The cluster ends with this process (the next `up` or `down` of whatever name clears it
        away) unless `detach` is called.

        Raises:
            InUse: another process is at work on a cluster of this name.
            ClusterError: this machine cannot carry it, or a part did not come up.
        """
        self._owner.acquire()
        sweep(except_for=self.name)
        self._clear()
        self._prepare()
        self._step("network", lambda: self.machines.start_network(self.programs))
        self._step("control plane", lambda: self.machines.start_control_plane(self.programs))
        self._publish_api()
        with ThreadPoolExecutor() as pool:
            proxy = pool.submit(self._start_switch_proxy)
            self._step(f"{nodes} node(s)", lambda: list(pool.map(self._start_node, _first(nodes))))
            proxy.result()
        names = [node_name(number) for number in _first(nodes)]
        self._step("nodes Ready", lambda: self.wait_for_nodes(names))

    def _prepare(self) -> None:
        self._step("preflight", preflight.require)
        self._step("packages", packages.install)
        if not KUBERNETES.cached():
            self.progress("building Kubernetes, which takes minutes")
        self._step("programs", KUBERNETES.build)
        self._step("sandbox image", images.pause)
        self.run.folder.mkdir(parents=True)
        self._step("keys", lambda: ClusterKeys.create(self.run.pki))

    def detach(self) -> None:
        """Let the cluster outlive this process, until `down`."""
        (self.run.folder / "detached").touch()
        self._owner.release()

    @property
    def detached(self) -> bool:
        """Whether it was left running for others."""
        return (self.run.folder / "detached").exists()

    def down(self) -> None:
        """Leave nothing of it, in whatever state it or its owner is. Fine to repeat.

        Raises:
            InUse: its owner is still at work.
        """
        self._owner.acquire()
        self._clear()
        self._owner.forget()

    def _clear(self) -> None:
        group = Cgroup(self.run.cgroup)
        if group.exists():
            group.kill()
            group.remove()
        if self.run.folder.exists():
            shutil.rmtree(self.run.folder)

    def _step(self, what: str, action: Callable[[], object]) -> None:
        begin = time.monotonic()
        action()
        self.progress(f"{what}: {time.monotonic() - begin:.1f} s")

    # -- parts

    @cached_property
    def programs(self) -> Path:
        """Folder of kubectl, kubelet and the rest."""
        return KUBERNETES.build()

    def _publish_api(self) -> None:
        """Let programs of this machine use the API as any other cluster's."""
        port = self.publish(API_ADDRESS, API_PORT)
        server = f"https://{LOOPBACK}:{port}"
        rewrite_server(self.run.kubeconfig, self.run.host_kubeconfig, server)

    def _start_switch_proxy(self) -> None:
        """Clients on the switch reach Services and node ports (at HOST_ADDRESS) as a node would."""
        switch = self.machines.switch
        # kube-proxy waits half a minute for a Node of its name before it goes on without. Show it
        # one for a moment.
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": switch.name},
                "spec": {"unschedulable": True},
                "status": {"addresses": [{"type": "InternalIP", "address": HOST_ADDRESS}]},
            }
        )
        node.start_service_proxy(switch, self.programs, self.run.pki)
        node.wait_for_service_proxy(switch)
        self.kubectl("delete", "node", switch.name)

    def _start_node(self, number: int) -> None:
        self.machines.start_node(number, self.programs)

    # -- programs in the cluster's network

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, for processes on the switch: see `execute`, `command`, `inside`."""
        return self.run.kubeconfig

    @property
    def host_kubeconfig(self) -> Path:
        """The administrator's, for any program of this machine."""
        return self.run.host_kubeconfig

    @property
    def extra_programs(self) -> Path:
        """Found by `command` next to kubectl. Add-ons link theirs here."""
        return self.run.folder / "bin"

    def command(self, *argv: str) -> list[str]:
        """The command line that runs a program on the switch, with the cluster's name server."""
        path = f"{self.extra_programs}:{self.programs}:{variable('PATH') or os.defpath}"
        settings = (f"--chdir={Path.cwd()}", f"KUBECONFIG={self.kubeconfig}", f"PATH={path}")
        return [*self.machines.switch.enter("net", "mount"), "env", *settings, *argv]

    def execute(self, *argv: str | Path, stdin: str | None = None, timeout: float = 120) -> str:
        """Run a program on the switch to its end and return its output."""
        return run(*argv, prefix=self.command(), stdin=stdin, timeout=timeout)

    def kubectl(self, *argv: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl as the administrator and return its output."""
        return self.execute("kubectl", *argv, stdin=stdin, timeout=timeout)

    def apply(self, *objects: object) -> None:
        """Create or change objects; fields that the API does not know are dropped."""
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        # To validate, kubectl would first fetch the schema of everything, which a busy machine's
        # API server is slow to make in its first minute.
        self.kubectl("apply", "--server-side", "--validate=false", "--filename=-", stdin=manifest)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let the calling thread's new sockets belong to the switch's network.

        It can connect to Services and pods, and serve them at HOST_ADDRESS. Sockets keep their
        network when the thread has left.
        """
        there_path = Path(f"/proc/{self.machines.switch.init}/ns/net")
        with Path("/proc/thread-self/ns/net").open() as home, there_path.open() as there:
            _enter_network(there.fileno())
            try:
                yield
            finally:
                _enter_network(home.fileno())

    def publish(self, address: str, port: int) -> int:
        """A port of this machine's loopback that leads to a Service, pod or node port."""
        with socket.create_server((LOOPBACK, 0)) as listener:
            self._relay(listener, address, port, *self.machines.switch.enter("net"))
            return int(listener.getsockname()[1])

    def admit(self, port: int, inner_port: int = 0) -> int:
        """A port of HOST_ADDRESS that leads pods to a port of this machine's loopback.

        Args:
            port: of this machine.
            inner_port: the one that pods use; 0: any free one.
        """
        with self.inside():
            listener = socket.create_server((HOST_ADDRESS, inner_port))
        with listener:
            self._relay(listener, LOOPBACK, port)
            return int(listener.getsockname()[1])

    def _relay(self, listener: socket.socket, address: str, port: int, *prefix: str) -> None:
        """A process that lives as long as the cluster."""
        program = (sys.executable, "-P", str(relay.__file__))
        words = (*prefix, *program, str(listener.fileno()), address, str(port))
        self.machines.switch.accompany("relay", *words, inherited=[listener.fileno()])

    # -- nodes

    def nodes(self) -> list[str]:
        """Names of the nodes whose machine is running."""
        return self.machines.running_nodes()

    def wait_for_nodes(self, names: Sequence[str], limit_seconds: int = _READY_SECONDS) -> None:
        """Return when all are Ready.

        Raises:
            ClusterError: they are not in time, or a daemon has ended meanwhile.
        """
        wanted = [f"node/{name}" for name in names]
        deadline = time.monotonic() + limit_seconds
        while True:
            self.machines.expect_alive(list(names))
            try:
                self.kubectl("wait", "--for=condition=Ready", "--timeout=10s", *wanted)
            except ClusterError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)  # until the kubelet has registered there is nothing to wait on
            else:
                return

    def load_image(self, image: Image | Path) -> None:
        """Into every running node."""
        archive = image.archive if isinstance(image, Image) else image
        for name in self.nodes():
            node.import_image(self.machines.node(name), archive.resolve())

    def add_node(self) -> str:
        """A further node, Ready. Numbers are not used again. Images are to be loaded again."""
        number = self.machines.next_node()
        self._start_node(number)
        self.wait_for_nodes([node_name(number)])
        return node_name(number)

    def lose_node(self, name: str) -> None:
        """Power off, as a crash would. The Node object stays until someone deletes it."""
        self.machines.node(name).kill()

    def cut_node(self, name: str) -> None:
        """Pull the cable of a node."""
        network.cut(self.machines.switch, self.machines.node(name))

    def mend_node(self, name: str) -> None:
        """Plug it in again."""
        network.mend(self.machines.switch, self.machines.node(name))

    def status(self) -> dict[str, dict[str, bool]]:
        """Whether each daemon is alive, by machine; a machine that is off has none."""
        if not self.run.folder.exists():
            return {}
        return {machine.name: machine.daemons() for machine in self.machines.everyone()}

    def whole(self, nodes: int) -> bool:
        """Whether it runs, with at least so many nodes, and no daemon has ended."""
        if not self.host_kubeconfig.exists() or len(self.nodes()) < nodes:
            return False
        daemons = [alive for machine in self.status().values() for alive in machine.values()]
        return self.machines.switch.running and all(daemons)


def sweep(except_for: str = "") -> None:
    """Clear away clusters whose owner has died without doing so."""
    for name in known_names():
        cluster = Cluster(name)
        if name == except_for or cluster.detached:
            continue
        try:
            cluster.down()
        except InUse:
            continue


def _first(count: int) -> range:
    return range(1, count + 1)


def _enter_network(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
