"""A cluster that is reached through its API server, and reaches back at one address."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from tests.cluster import relay
from tests.cluster.cluster import LOOPBACK
from tests.cluster.commands import ClusterError, wait_until
from tests.support.kubernetes import Address, Kubernetes

_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
_START_SECONDS = 60


class Forwards:
    """Processes that carry connections for as long as the test session lasts."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._known: dict[tuple[str, ...], Address] = {}

    def to_pod(self, kubectl: str, kubeconfig: Path, *words: str) -> Address:
        """Through the API server, to one pod, for as long as that pod lives."""
        if words not in self._known:
            command = [kubectl, f"--kubeconfig={kubeconfig}", "port-forward", *words]
            self._known[words] = Address(LOOPBACK, self._forwarded_port(command))
        return self._known[words]

    def _forwarded_port(self, command: list[str]) -> int:
        # A file, because it says a line for each connection and a pipe would be full one day.
        with tempfile.NamedTemporaryFile() as said:
            process = subprocess.Popen(command, stdout=said, stderr=said)
            self._processes.append(process)
            words = Path(said.name)

            def forwarding() -> bool:
                if process.poll() is not None:
                    raise ClusterError(f"{' '.join(command)}: {words.read_text()}")
                return _FORWARDING.search(words.read_text()) is not None

            wait_until("kubectl forwards", forwarding, _START_SECONDS)
            found = _FORWARDING.search(words.read_text())
            assert found is not None
            return int(found[1])

    def from_outside(self, address: str, port: int) -> Address:
        """From an address of this machine to a port of its loopback."""
        words = (address, str(port))
        if words not in self._known:
            with socket.create_server((address, 0)) as listener:
                program = [sys.executable, "-P", str(relay.__file__), str(listener.fileno())]
                process = subprocess.Popen(
                    [*program, LOOPBACK, str(port)], pass_fds=[listener.fileno()]
                )
                self._known[words] = Address(address, listener.getsockname()[1])
            self._processes.append(process)
        return self._known[words]

    def close(self) -> None:
        """End them all."""
        for process in self._processes:
            process.terminate()
            process.wait()


class Forwarded(Kubernetes):
    """A cluster that is reached through its API server, and reaches back at one address."""

    host_address = ""

    def __init__(
        self, source: str, kubeconfig: Path, capabilities: Collection[str], kubectl_path: str
    ) -> None:
        super().__init__(source, kubeconfig, sorted(capabilities), kubectl_path)
        self._forwards = Forwards()

    def reach(self, target: str, port: int, namespace: str = "default") -> Address:
        """One of the pods behind it; a new call after that pod has gone finds another."""
        words = (f"--namespace={namespace}", target, f":{port}")
        return self._forwards.to_pod(self._kubectl, self.kubeconfig, *words)

    def host_url(self, port: int, scheme: str = "http") -> str:
        """By the address that the cluster knows this machine by."""
        address = self._forwards.from_outside(self.host_address, port)
        return f"{scheme}://{address.host}:{address.port}"

    def close(self) -> None:
        """End the forwarding processes; the cluster stays."""
        self._forwards.close()
