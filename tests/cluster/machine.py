"""A simulated machine: network, mounts, host name and processes of its own, under a first process.

When that process is killed, the kernel ends everything inside, pods included, and drops every mount
that was made inside. So a machine can be lost like a real one, and nothing of it is left behind.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.cluster.cgroups import Cgroup
from tests.cluster.commands import ClusterError, run, wait_until
from tests.cluster.settings import Run

# The kubelet sets these for the whole kernel. It finds the value it wants in a file laid over each,
# and leaves the host's setting alone.
# https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/kubelet/cm/container_manager_linux.go
_KUBELET_SYSCTLS: Mapping[str, str] = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}

# Joins every control group first, so that there is no moment at which a process of ours is not
# listed in one.
_JOIN = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Machine:
    """One machine of a run. All state is on the disk and in the kernel; here is only its name."""

    run: Run
    name: str
    private_folders: bool = True
    """/run, /var/lib and /var/log of its own, as a node needs; the switch shares the host's."""

    @property
    def folder(self) -> Path:
        """What it keeps."""
        return self.run.folder / self.name

    @property
    def logs(self) -> Path:
        """One file per daemon."""
        return self.folder / "daemons"

    @property
    def cgroup(self) -> Cgroup:
        """All of its processes, and whatever accompanies it."""
        return Cgroup(f"{self.run.cgroup}/{self.name}")

    def start(self, init: Path, resolv_conf: str) -> None:
        """Create the namespaces. `init` must reap orphans."""
        for name in ("lib", "log", "pids", "sysctl"):
            (self.folder / name).mkdir(parents=True)
        self.logs.mkdir()
        (self.folder / "resolv.conf").write_text(resolv_conf)
        self.cgroup.create()
        self._detach(
            *(
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--uts",
                "--fork",
                "--mount-proc",
                "--propagation",
                "private",
            ),
            *("sh", "-euc", self._setup(init)),
            log=self.logs / "init.log",
        )
        wait_until(f"machine {self.name} is up", self._is_up, 60, interval=0.02)

    def _setup(self, init: Path) -> str:
        steps = [
            "mount --make-rshared /",  # pods may ask for mounts that propagate
            f"mount --bind {self.folder}/resolv.conf /etc/resolv.conf",
            f"hostname {self.name}",
        ]
        if self.private_folders:
            steps += [
                "mount -t tmpfs -o mode=0755 tmpfs /run",
                f"mount --bind {self.folder}/lib /var/lib",
                f"mount --bind {self.folder}/log /var/log",
            ]
            for sysctl, value in _KUBELET_SYSCTLS.items():
                shadow = self.folder / "sysctl" / sysctl.replace("/", ".")
                shadow.write_text(value + "\n")
                steps.append(f"mount --bind {shadow} /proc/sys/{sysctl}")
        return "\n".join([*steps, f"touch {self.folder}/ready", f"exec {init}"])

    def _is_up(self) -> bool:
        log = self.logs / "init.log"
        if (self.folder / "ready").exists():
            return True
        if log.exists() and (text := log.read_text()):
            raise ClusterError(f"machine {self.name} did not start: {text.strip()}")
        return False

    @cached_property
    def init(self) -> int:
        """Process id, as the host sees it, of the first process inside."""
        depth = len(_namespace_ids("self")) + 1
        for process in self.cgroup.processes():
            ids = _namespace_ids(process)
            if len(ids) == depth and ids[-1] == 1:
                return process
        raise ClusterError(f"machine {self.name} is not running")

    @property
    def running(self) -> bool:
        """Whether its first process lives."""
        try:
            return bool(self.init)
        except ClusterError:
            return False

    def enter(self, *namespaces: str) -> list[str]:
        """Command prefix that enters some of its namespaces, all by default.

        `ip netns exec` will not do: it remounts /sys and so hides the control groups.
        """
        wanted = namespaces or ("net", "mount", "pid", "uts")
        return ["nsenter", f"--target={self.init}", *(f"--{name}" for name in wanted), "--"]

    def execute(self, *argv: str | Path, stdin: str | None = None, timeout: float = 120) -> str:
        """Run to the end in the machine's network, with the host's files and processes."""
        return run(*argv, prefix=self.enter("net"), stdin=stdin, timeout=timeout)

    def spawn(self, name: str, *argv: str | Path, env: Mapping[str, str] | None = None) -> None:
        """Start a daemon inside, or start it again. It outlives this process."""
        pid_file = self.folder / "pids" / name
        pid_file.unlink(missing_ok=True)
        self._detach(
            *self.enter(),
            *(
                "sh",
                "-c",
                f'echo $$ > {pid_file}.new && mv {pid_file}.new {pid_file}; exec "$@"',
                name,
                *map(str, argv),
            ),
            log=self.logs / f"{name}.log",
            env=env,
        )
        wait_until(f"{name} on {self.name} is started", pid_file.exists, 60, interval=0.01)

    def accompany(self, name: str, *argv: str, inherited: Sequence[int] = ()) -> None:
        """Start a process of the host that ends with the machine.

        Args:
            name: of its log.
            argv: the program and its arguments.
            inherited: file descriptors that it gets under the same numbers.
        """
        self._detach(*argv, log=self.logs / f"{name}.log", inherited=inherited)

    def daemons(self) -> dict[str, bool]:
        """Whether each daemon that was ever spawned is alive; none when the machine is off."""
        if not self.running:
            return {}
        names = sorted(path.name for path in (self.folder / "pids").iterdir())
        return {name: self.alive(name) for name in names if not name.endswith(".new")}

    def alive(self, name: str) -> bool:
        """Whether a daemon has started and not ended."""
        pid_file = self.folder / "pids" / name
        return (
            pid_file.exists()
            and Path(f"/proc/{self.init}/root/proc/{pid_file.read_text().strip()}").exists()
        )

    def signal(self, name: str, number: signal.Signals) -> None:
        """To one daemon, by the id that it has inside."""
        pid = (self.folder / "pids" / name).read_text().strip()
        run("kill", f"-{number.value}", pid, prefix=self.enter("mount", "pid"))

    def tail(self, name: str, lines: int = 15) -> str:
        """What the daemon said last, for error messages."""
        log = self.logs / f"{name}.log"
        return (
            "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
        )

    def expect_alive(self, *names: str) -> None:
        """See that daemons have not ended.

        Raises:
            ClusterError: one has; the message holds its last lines.
        """
        for name in names:
            if not self.alive(name):
                raise ClusterError(
                    f"{name} on {self.name} has ended. Its last lines:\n{self.tail(name)}"
                )

    def kill(self) -> None:
        """Power off: no signal that anything could answer to."""
        self.cgroup.kill()

    def remove(self) -> None:
        """Power off and forget its disk."""
        self.kill()
        self.cgroup.remove()
        shutil.rmtree(self.folder, ignore_errors=False)

    def _detach(
        self,
        *argv: str,
        log: Path,
        env: Mapping[str, str] | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        """Start in a session of its own, as nobody's child: no zombie, no signal of a terminal."""
        joined = ["sh", "-c", _JOIN, "join", *map(str, self.cgroup.member_files()), "--", *argv]
        with log.open("ab") as output:
            subprocess.run(
                ["setsid", "--fork", *joined],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"PATH": _PATH, "HOME": "/root", **(env or {})},
                cwd="/",
                pass_fds=inherited,
                check=True,
            )


def _namespace_ids(process: int | str) -> Sequence[int]:
    """The ids of a process in each namespace from ours inwards."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ()  # it has ended; between opening and reading the kernel says "no such process"
    line = next(line for line in status.splitlines() if line.startswith("NSpid:"))
    return [int(word) for word in line.split()[1:]]
