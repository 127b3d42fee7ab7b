"""The verbs that the operator has, as a contract; the client implements it, tests too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Object = dict[str, Any]


class Cluster(Protocol):
    """Kubernetes as this operator uses it.

    Each call has a time-out of its own. Errors: ``NotFound``, ``Conflict``, ``Refused``,
    ``ClusterUnavailable`` of ``smtp_operator.errors``; the library's own end here.
    Kinds are those of ``cluster/kinds.py``.
    """

    async def get(self, kind: str, namespace: str, name: str) -> Object:
        """One object."""
        ...

    async def list(self, kind: str, namespace: str, *, labels: Mapping[str, str]) -> list[Object]:
        """All objects of a kind with these labels; namespace "" means all namespaces."""
        ...

    async def list_metadata(
        self, kind: str, namespace: str, *, labels: Mapping[str, str]
    ) -> list[Object]:
        """As ``list``, metadata only (PartialObjectMetadata)."""
        ...

    async def apply(
        self, body: Object, *, manager: str, force: bool = True, dry_run: bool = False
    ) -> Object:
        """Server-side apply; kind, namespace and name are read from the body."""
        ...

    async def apply_status(self, body: Object, *, manager: str) -> Object:
        """Server-side apply of the status subresource."""
        ...

    async def delete(
        self, kind: str, namespace: str, name: str, *, uid: str, resource_version: str
    ) -> None:
        """Delete with preconditions, in the background; gone already is fine."""
        ...

    async def create_event(self, body: Object) -> None:
        """One events.k8s.io/v1 Event."""
        ...
