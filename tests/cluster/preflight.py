"""Can this machine carry the cluster? One line per question, before anything is started."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.cluster import cgroups, packages
from tests.cluster.commands import ClusterError, CommandFailed, run
from tests.cluster.settings import cache_folder, state_folder

_DISK_NEEDED_GB = 6
_MEMORY_NEEDED_GB = 3


def problems() -> dict[str, str]:
    """What is in the way, by the name of its check, with what to do about it. Empty: go ahead."""
    found = {name: check() for name, check in CHECKS.items()}
    return {name: problem for name, problem in found.items() if problem}


def require() -> None:
    """Go on only when nothing is in the way.

    Raises:
        ClusterError: something is; the message has one line for each.
    """
    if found := problems():
        lines = [f"- {name}: {problem}" for name, problem in found.items()]
        raise ClusterError("\n".join(["this machine cannot carry the local cluster:", *lines]))


def _root() -> str:
    return (
        "" if os.geteuid() == 0 else "run as root: namespaces, mounts and control groups are made"
    )


def _control_groups() -> str:
    if lacking := cgroups.missing_controllers():
        return f"no version 1 hierarchy for {', '.join(lacking)}; on a version 2 machine use kind"
    readonly = [str(mount) for mount in cgroups.hierarchies() if not os.access(mount, os.W_OK)]
    return f"not writable: {', '.join(readonly)}" if readonly else ""


def _namespaces() -> str:
    return _tried("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "true")


def _bridge() -> str:
    return _tried("unshare", "--net", "ip", "link", "add", "probe", "type", "bridge")


def _nftables() -> str:
    if not shutil.which("nft"):
        return ""  # the package is yet to be installed
    rules = "add table ip probe; add chain ip probe nat { type nat hook output priority 0; }"
    return _tried("unshare", "--net", "nft", rules)


def _overlay() -> str:
    state_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state_folder()) as scratch:
        for name in ("lower", "upper", "work", "merged"):
            (Path(scratch) / name).mkdir()
        options = ",".join(f"{name}dir={scratch}/{name}" for name in ("lower", "upper", "work"))
        return _tried(
            "unshare",
            "--mount",
            "mount",
            "-t",
            "overlay",
            "-o",
            options,
            "overlay",
            f"{scratch}/merged",
        )


def _disk() -> str:
    for folder in (state_folder(), cache_folder()):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / 1e9
        if free < _DISK_NEEDED_GB:
            return f"{folder} has {free:.1f} GB free, {_DISK_NEEDED_GB} are needed"
    return ""


def _memory() -> str:
    line = next(
        line
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemAvailable")
    )
    available = int(line.split()[1]) / 1e6
    return (
        ""
        if available >= _MEMORY_NEEDED_GB
        else f"{available:.1f} GB available, {_MEMORY_NEEDED_GB} are needed"
    )


def _installable() -> str:
    wanted = packages.missing()
    return f"install {', '.join(wanted)}" if wanted and not shutil.which("apt-get") else ""


def _go() -> str:
    return "" if shutil.which("go") else "install Go, of the version that kube/go.mod says"


def _tried(*argv: str) -> str:
    try:
        run(*argv)
    except (CommandFailed, FileNotFoundError) as error:
        return str(error)
    return ""


CHECKS: Mapping[str, Callable[[], str]] = {
    "root": _root,
    "control groups": _control_groups,
    "namespaces": _namespaces,
    "bridge": _bridge,
    "nftables": _nftables,
    "overlay mounts": _overlay,
    "disk": _disk,
    "memory": _memory,
    "packages": _installable,
    "go": _go,
}
