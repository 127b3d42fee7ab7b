"""The election's record as an object of coordination.k8s.io/v1.

Its requests wait for no token and ask nobody whether we lead: renewing must never starve.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from smtp_operator.cluster.api import LEASE_DURATION, Lease, Object
from smtp_operator.cluster.connection import Connection
from smtp_operator.cluster.kinds import KINDS
from smtp_operator.errors import ClusterUnavailable, NotFound
from smtp_operator.utils.clock import rfc3339_micro

WATCH_SECONDS = "60"


class LeaseObject:
    """``LeaseStore`` over a connection.

    Args:
        connection: to the API server.
        namespace: of the Lease.
        name: of the Lease.
    """

    def __init__(self, connection: Connection, namespace: str, name: str) -> None:
        self._connection = connection
        self._namespace, self._name = namespace, name
        self._all = KINDS["Lease"].path(namespace)
        self._one = KINDS["Lease"].path(namespace, name)

    async def read(self) -> Lease | None:
        """See ``LeaseStore``."""
        try:
            return _lease(await self._connection.call("GET", self._one))
        except NotFound:
            return None

    async def write(self, lease: Lease) -> Lease:
        """See ``LeaseStore``."""
        body = self._object(lease)
        if lease.resource_version:
            # An update without that version would be unconditional: a stolen lock.
            return _lease(await self._connection.call("PUT", self._one, body=body))
        return _lease(await self._connection.call("POST", self._all, body=body))

    async def changed(self, resource_version: str) -> None:
        """See ``LeaseStore``."""
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={self._name}",
            "timeoutSeconds": WATCH_SECONDS,
        }
        if resource_version:
            query["resourceVersion"] = resource_version
        async with self._connection.stream(self._all, query) as lines:
            async for line in lines:
                # An ERROR (410: that version is long gone) is a reason to look, too.
                if _version_of(line) != resource_version:
                    return

    def _object(self, lease: Lease) -> Object:
        metadata = {"namespace": self._namespace, "name": self._name}
        if lease.resource_version:
            metadata["resourceVersion"] = lease.resource_version
        spec: dict[str, Any] = {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": LEASE_DURATION,
            "leaseTransitions": lease.transitions,
        }
        for name, moment in (("acquireTime", lease.acquired_at), ("renewTime", lease.renewed_at)):
            if moment is not None:
                spec[name] = rfc3339_micro(moment)
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }


def _lease(found: Object) -> Lease:
    spec = found.get("spec") or {}
    version = (found.get("metadata") or {}).get("resourceVersion")
    if not version:
        raise ClusterUnavailable("a Lease has no version")
    return Lease(
        holder=spec.get("holderIdentity") or "",
        transitions=spec.get("leaseTransitions") or 0,
        acquired_at=_moment(spec.get("acquireTime")),
        renewed_at=_moment(spec.get("renewTime")),
        resource_version=version,
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _version_of(line: bytes) -> str:
    try:
        return str(json.loads(line)["object"]["metadata"]["resourceVersion"])
    except (ValueError, LookupError, TypeError):
        return ""  # whatever it was: look at the Lease
