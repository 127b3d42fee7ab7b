"""What a cluster can do beyond the base.

One that cannot be had is a capability less, not a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.cluster.addons import cert_manager, dns, fake_nodes, helm, metrics
from tests.cluster.cluster import Cluster
from tests.cluster.commands import ClusterError

ADDONS: Mapping[str, Callable[[Cluster], None]] = {
    "certmanager": cert_manager.enable,
    "dns": dns.enable,
    "fakenodes": fake_nodes.enable,
    "helm": helm.enable,
    "metrics": metrics.enable,
}


def enable(cluster: Cluster, name: str) -> bool:
    """Build what is missing and start it. False, with the reason told, when it cannot be had."""
    try:
        ADDONS[name](cluster)
    except ClusterError as error:
        cluster.progress(f"add-on {name} is missing: {error}")
        return False
    cluster.progress(f"add-on {name}: enabled")
    return True
