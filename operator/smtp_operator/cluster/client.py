"""The operator's verbs on a real API server.

Every request but the Lease's waits for a token of the bucket. Every write but the Lease's first
asks whether we still lead: none may begin after the renew deadline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from smtp_operator.cluster.api import Object
from smtp_operator.cluster.connection import Connection
from smtp_operator.cluster.kinds import KINDS, OPTIONAL_KINDS
from smtp_operator.errors import ClusterUnavailable, NotFound

APPLY = "application/apply-patch+yaml"  # JSON is YAML
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
CHUNK = "500"


class ApiCluster:
    """``Cluster`` over a connection.

    Args:
        connection: to the API server.
        throttle: waits for permission to send a request.
        may_write: whether we lead.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        throttle: Callable[[], Awaitable[None]],
        may_write: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._throttle = throttle
        self._may_write = may_write

    async def get(self, kind: str, namespace: str, name: str) -> Object:
        """See ``Cluster``."""
        await self._throttle()
        return _object(await self._connection.call("GET", KINDS[kind].path(namespace, name)))

    async def list_metadata(
        self, kind: str, namespace: str, *, labels: Mapping[str, str]
    ) -> list[Object]:
        """See ``Cluster``."""
        wanted = KINDS[kind]
        found: list[Object] = []
        query = {"limit": CHUNK}
        if labels:
            query["labelSelector"] = selector(labels)
        while True:
            await self._throttle()
            page = _object(
                await self._connection.call(
                    "GET", wanted.path(namespace), query=query, accept=METADATA_LIST
                )
            )
            # Items of a list carry neither kind nor version.
            typed = {"apiVersion": wanted.api_version, "kind": wanted.kind}
            found += [item | typed for item in page.get("items") or []]
            more = page.get("metadata", {}).get("continue")
            if not more:
                return found
            query["continue"] = more

    async def apply(
        self, body: Object, *, manager: str, force: bool = True, dry_run: bool = False
    ) -> Object:
        """See ``Cluster``."""
        return await self._apply(body, "", manager, force=force, dry_run=dry_run)

    async def apply_status(self, body: Object, *, manager: str) -> Object:
        """See ``Cluster``."""
        return await self._apply(body, "status", manager, force=True, dry_run=False)

    async def amend(self, kind: str, namespace: str, name: str, patch: Sequence[Object]) -> Object:
        """See ``Cluster``."""
        await self._before_write()
        return _object(
            await self._connection.call(
                "PATCH",
                KINDS[kind].path(namespace, name),
                body=list(patch),
                content_type="application/json-patch+json",
            )
        )

    async def delete(
        self, kind: str, namespace: str, name: str, *, uid: str, resource_version: str
    ) -> None:
        """See ``Cluster``."""
        await self._before_write()
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid, "resourceVersion": resource_version},
        }
        try:
            await self._connection.call("DELETE", KINDS[kind].path(namespace, name), body=options)
        except NotFound:
            return  # gone already

    async def create_event(self, body: Object) -> None:
        """See ``Cluster``."""
        await self._before_write()
        path = KINDS["Event"].path(body["metadata"]["namespace"])
        await self._connection.call("POST", path, body=body)

    async def patch_event(self, namespace: str, name: str, body: Object) -> None:
        """Change a series of an Event."""
        await self._before_write()
        path = KINDS["Event"].path(namespace, name)
        await self._connection.call(
            "PATCH", path, body=body, content_type="application/merge-patch+json"
        )

    async def serves(self, kind: str) -> bool:
        """Whether the cluster knows a kind; one discovery request."""
        await self._throttle()
        wanted = KINDS[kind]
        try:
            known = await self._connection.call("GET", wanted.root)
        except NotFound:
            return False
        return any(r.get("name") == wanted.plural for r in _object(known).get("resources", []))

    async def optional_kinds(self) -> frozenset[str]:
        """Which of the optional kinds are there."""
        return frozenset([kind for kind in OPTIONAL_KINDS if await self.serves(kind)])

    async def version(self) -> tuple[int, int]:
        """Of the API server, such as (1, 36)."""
        await self._throttle()
        said = _object(await self._connection.call("GET", "/version"))
        minor = "".join(c for c in str(said.get("minor", "0")) if c.isdecimal())
        return int(said.get("major", "1")), int(minor or "0")

    async def _apply(
        self, body: Object, subresource: str, manager: str, *, force: bool, dry_run: bool
    ) -> Object:
        await self._before_write()
        meta = body["metadata"]
        path = KINDS[body["kind"]].path(meta["namespace"], meta["name"], subresource)
        query = {"fieldManager": manager, "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        return _object(
            await self._connection.call("PATCH", path, query=query, body=body, content_type=APPLY)
        )

    async def _before_write(self) -> None:
        await self._throttle()
        if not self._may_write():
            raise ClusterUnavailable("this process does not lead")


def selector(labels: Mapping[str, str]) -> str:
    """Labels as the API server takes them; an empty value asks only whether the label is there."""
    return ",".join(f"{key}={value}" if value else key for key, value in sorted(labels.items()))


def _object(answer: Any) -> Object:
    if not isinstance(answer, dict):
        raise ClusterUnavailable("the answer is no object")
    return answer
