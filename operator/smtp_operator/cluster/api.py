"""The verbs that the operator has, as a contract; the client implements it, tests too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

Object = dict[str, Any]

LEASE_DURATION = 15  # seconds; written into the Lease, so a whole number

NOT_THERE = "1"
"""As ``metadata.resourceVersion`` of an apply: create, or ``Conflict`` when the name is taken.

Versions are revisions of etcd, and no object can have the first one; so whatever is there differs
from it, and the API server refuses to merge (kubernetes#106745 uses the same rule).
"""


class Cluster(Protocol):
    """Kubernetes as this operator uses it.

    Each call has a time-out of its own. Errors: ``NotFound``, ``Conflict``, ``Refused``,
    ``ClusterUnavailable`` of ``smtp_operator.errors``; the library's own end here.
    Kinds are those of ``cluster/kinds.py``.
    """

    async def get(self, kind: str, namespace: str, name: str) -> Object:
        """One object."""
        ...

    async def list_metadata(
        self, kind: str, namespace: str, *, labels: Mapping[str, str]
    ) -> list[Object]:
        """Metadata (PartialObjectMetadata) of all objects of a kind with these labels.

        Namespace "" means all namespaces.
        """
        ...

    async def apply(
        self, body: Object, *, manager: str, force: bool = True, dry_run: bool = False
    ) -> Object:
        """Server-side apply; kind, namespace and name are read from the body.

        A UID in it, or a version, is a precondition; see ``NOT_THERE``.
        """
        ...

    async def apply_status(self, body: Object, *, manager: str) -> Object:
        """Server-side apply of the status subresource."""
        ...

    async def amend(self, kind: str, namespace: str, name: str, patch: Sequence[Object]) -> Object:
        """Change one object by a JSON patch (RFC 6902), all of it or nothing."""
        ...

    async def delete(
        self, kind: str, namespace: str, name: str, *, uid: str, resource_version: str
    ) -> None:
        """Delete with preconditions, in the background; gone already is fine."""
        ...

    async def create_event(self, body: Object) -> None:
        """One events.k8s.io/v1 Event."""
        ...

    async def patch_event(self, namespace: str, name: str, body: Object) -> None:
        """Change the series of one Event (a merge patch)."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """The election's record, as coordination.k8s.io/v1 has it.

    Attributes:
        holder: identity, "" when released.
        transitions: how often the holder changed.
        acquired_at: when this holder began; for people.
        renewed_at: when it last renewed; for people.
        resource_version: of the object, "" when it is not there yet.
    """

    holder: str
    transitions: int = 0
    acquired_at: datetime | None = None
    renewed_at: datetime | None = None
    resource_version: str = ""


class LeaseStore(Protocol):
    """Where the election's record lies. Errors: as ``Cluster``."""

    async def read(self) -> Lease | None:
        """The record, None when it is not there."""
        ...

    async def write(self, lease: Lease) -> Lease:
        """Create it (no resource_version) or replace just that version; else ``Conflict``."""
        ...

    async def changed(self, resource_version: str) -> None:
        """Return once it differs from this version; may return early, must not poll."""
        ...
