"""The helm program, for `Cluster.command`."""

from __future__ import annotations

from tests.cluster.cluster import Cluster
from tests.cluster.programs import HELM


def enable(cluster: Cluster) -> None:
    """Link it where commands look for programs."""
    link = cluster.extra_programs / "helm"
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(HELM.build() / "helm")
