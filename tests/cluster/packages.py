"""Programs that the Debian release of this machine packages. Installed by name when missing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.commands import ClusterError, run

_BY_PROGRAM: Mapping[str, str] = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "nft": "nftables",
    "iptables": "iptables",  # the portmap plugin calls it
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
}


def missing() -> list[str]:
    """Debian packages whose program is not here."""
    return sorted({package for program, package in _BY_PROGRAM.items() if not _present(program)})


def _present(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program) is not None


def install() -> None:
    """Install what is missing.

    Raises:
        ClusterError: there is no apt-get.
    """
    if not (wanted := missing()):
        return
    if not shutil.which("apt-get"):
        raise ClusterError(
            f"no apt-get here: provide what these Debian packages hold: {', '.join(wanted)}"
        )
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    lock = "--option=DPkg::Lock::Timeout=300"  # another package run is no fault
    run("apt-get", "update", lock, variables=quiet, timeout=300)
    run(
        "apt-get",
        "install",
        lock,
        "--yes",
        "--no-install-recommends",
        *wanted,
        variables=quiet,
        timeout=600,
    )
