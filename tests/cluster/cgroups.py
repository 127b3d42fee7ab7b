"""Control groups (version 1) of a run: pods are accounted here, and every process is found again.

Membership survives the death of whoever started a process; a recorded process id proves nothing.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from tests.cluster.commands import ClusterError, wait_until

NEEDED_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids")
_TRACKER = "pids"
_PATIENCE_SECONDS = 60.0  # on a starved machine mounts and namespaces take long to go


@cache
def _mounts() -> dict[str, Path]:
    """Mount point of each hierarchy by controller, by `name=...`, or `unified` for version 2."""
    controllers = {line.split()[0] for line in Path("/proc/cgroups").read_text().splitlines()[1:]}
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, superblock = line.partition(" - ")
        kind, _, options = superblock.split(" ", 2)
        mount_point = Path(mount.split()[4])
        if kind == "cgroup2":
            found["unified"] = mount_point
        elif kind == "cgroup":
            names = options.split(",")
            found.update(
                {
                    name: mount_point
                    for name in names
                    if name in controllers or name.startswith("name=")
                }
            )
    return found


def hierarchies() -> list[Path]:
    """Version 1 mount points, each once."""
    return sorted({path for name, path in _mounts().items() if name != "unified"})


def missing_controllers() -> list[str]:
    """Those that kubelet and containerd need and this kernel does not offer in version 1."""
    return [name for name in NEEDED_CONTROLLERS if name not in _mounts()]


class Cgroup:
    """The group of one name in every hierarchy."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self) -> None:
        """Make it in every hierarchy, ready to take processes."""
        for mount in hierarchies():
            (mount / self.name).mkdir(parents=True, exist_ok=True)
        self._inherit_cpuset()

    def _inherit_cpuset(self) -> None:
        # A new cpuset is empty and admits no process until both files are filled, level by level.
        parent = _mounts()["cpuset"]
        for part in Path(self.name).parts:
            child = parent / part
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not (child / file).read_text().strip():
                    (child / file).write_text((parent / file).read_text())
            parent = child

    def member_files(self) -> list[Path]:
        """A process joins by writing its id to each."""
        return [mount / self.name / "cgroup.procs" for mount in hierarchies()]

    def processes(self) -> set[int]:
        """Of this group and all below, pods' processes included."""
        found: set[int] = set()
        for folder in _below(_mounts()[_TRACKER] / self.name):
            try:
                found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
            except OSError as error:
                # A pod's group may end between the listing and the reading.
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise
        return found

    def kill(self, timeout: float = _PATIENCE_SECONDS) -> None:
        """SIGKILL until nobody is left."""

        def empty() -> bool:
            processes = self.processes()
            for process in processes:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return not processes

        wait_until(f"processes of cgroup {self.name} are gone", empty, timeout, interval=0.02)

    def remove(self, timeout: float = _PATIENCE_SECONDS) -> None:
        """Deepest first, in every hierarchy; runc leaves groups in the unified one too."""
        for mount in sorted({*_mounts().values()}):
            top = mount / self.name
            if top.exists():
                # Groups of processes that have just died stay busy for a moment.
                wait_until(f"{top} is removed", partial(_remove_tree, top), timeout, interval=0.05)

    def exists(self) -> bool:
        """Whether any hierarchy has it."""
        return any((mount / self.name).exists() for mount in _mounts().values())


def _below(top: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(top):
        yield Path(folder)


def _remove_tree(top: Path) -> bool:
    for folder in sorted(_below(top), key=lambda path: len(path.parts), reverse=True):
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise ClusterError(f"cannot remove {folder}: {error.strerror}") from error
            return False
    return True
