"""Read once what a decision needs, and no more.

Most children are known from the watch by a few strings (``cluster/children.py``). In full are read
only those whose content a decision needs. A name that we would use and that no watch has told of
is asked for: it may be a stranger's, and strangers carry no label of ours.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from smtp_operator.cluster.api import Cluster
from smtp_operator.cluster.children import Children, Place, controller, seen
from smtp_operator.errors import NotFound
from smtp_operator.fleet import names, references
from smtp_operator.fleet.model import Facts, Gateway, Object, Ref

# Their status or spec decides something: pods, addresses, metrics, the issuer's answer.
READ_IN_FULL = frozenset({"Deployment", "Service", "HorizontalPodAutoscaler", "Certificate"})
SECRET = "Secret"  # noqa: S105  # a kind
CONFIG_MAP = "ConfigMap"


@dataclass(frozen=True, slots=True)
class Observed:
    """Facts, and what writing needs besides.

    Attributes:
        facts: for the decision.
        absent: names that were asked for and are free.
    """

    facts: Facts
    absent: frozenset[Ref] = field(default_factory=frozenset)


class Observer:
    """Reads the cluster for one gateway at a time.

    Args:
        cluster: where it reads.
        children: what the watches told; every read is noted there.
        default_image: see ``Facts``.
        secrets_watched: without a watch, our own Secrets are asked for each time.
    """

    def __init__(
        self, cluster: Cluster, children: Children, *, default_image: str, secrets_watched: bool
    ) -> None:
        self._cluster = cluster
        self._children = children
        self._image = default_image
        self._secrets_watched = secrets_watched
        self.optional_kinds: frozenset[str] = frozenset()

    async def observe(self, gateway: Gateway, now: datetime) -> Observed:
        """All that a decision about this gateway needs.

        Raises:
            OperatorError: the cluster does not answer.
        """
        known = self._known(gateway)
        asked = sorted(self._to_read(gateway, known))
        answers = await asyncio.gather(*(self._read(gateway, ref) for ref in asked))
        found = {ref: o for ref, o in zip(asked, answers, strict=True) if o is not None}
        children = known | {r: o for r, o in found.items() if is_ours(o, gateway)}
        strangers = {r for r, o in found.items() if not is_ours(o, gateway)}
        secrets = await self._data(SECRET, gateway, references.secret_names(gateway), found)
        maps = await self._data(CONFIG_MAP, gateway, references.config_map_names(gateway), found)
        facts = Facts(
            children={ref: _without_data(child) for ref, child in children.items()},
            strangers=frozenset(strangers),
            secrets={name: _decoded(data) for name, data in secrets.items()},
            config_maps=maps,
            kinds=self.optional_kinds,
            default_image=self._image,
            now=now,
        )
        return Observed(facts, frozenset(set(asked) - set(found)))

    async def look(self, gateway: Gateway, ref: Ref) -> Object | None:
        """One object as it is now, noted; None when the name is free."""
        return await self._read(gateway, ref)

    def _known(self, gateway: Gateway) -> dict[Ref, Object]:
        """Children that the watch told of, by their metadata."""
        told = self._children.of(gateway.key.namespace, gateway.key.name)
        return {
            Ref(child.place.kind, child.place.name): child.as_object()
            for child in told
            if child.owner_uid == gateway.uid
        }

    def _to_read(self, gateway: Gateway, known: Mapping[Ref, Object]) -> set[Ref]:
        fixed = {ref for ref in names.refs(gateway) if self._served(ref.kind)}
        wanted = {ref for ref in known if ref.kind in READ_IN_FULL} | (fixed - set(known))
        wanted |= {ref for ref in fixed if ref.kind in READ_IN_FULL}
        if not self._secrets_watched:
            own = (names.tls(gateway.key), names.ca(gateway.key))
            wanted |= {Ref(SECRET, name) for name in own if name != gateway.spec.tls.secret_name}
        return {ref for ref in wanted if self._served(ref.kind)}

    def _served(self, kind: str) -> bool:
        return kind not in {"Certificate", "ServiceMonitor", "PrometheusRule"} or (
            kind in self.optional_kinds
        )

    async def _read(self, gateway: Gateway, ref: Ref) -> Object | None:
        place = Place(ref.kind, gateway.key.namespace, ref.name)
        try:
            found = await self._cluster.get(ref.kind, place.namespace, ref.name)
        except NotFound:
            self._children.gone(place)
            return None
        if is_ours(found, gateway):
            _ = self._children.note(seen(ref.kind, found))
        else:
            self._children.gone(place)
        return found

    async def _data(
        self, kind: str, gateway: Gateway, wanted: Iterable[str], found: Mapping[Ref, Object]
    ) -> dict[str, Any]:
        """Name -> data of referenced objects, None for what is not there."""
        order = sorted(wanted)
        answers = await asyncio.gather(*(self._content(kind, gateway, n, found) for n in order))
        return dict(zip(order, answers, strict=True))

    async def _content(
        self, kind: str, gateway: Gateway, name: str, found: Mapping[Ref, Object]
    ) -> Mapping[str, Any] | None:
        body = found.get(Ref(kind, name))
        if body is None:
            try:
                body = await self._cluster.get(kind, gateway.key.namespace, name)
            except NotFound:
                return None
        data: Mapping[str, Any] = body.get("data") or {}
        return data


def is_ours(found: Mapping[str, Any], gateway: Gateway) -> bool:
    """Our label, and a controller reference with this gateway's UID."""
    meta = found["metadata"]
    labelled = (meta.get("labels") or {}).get(names.MANAGED_BY) == names.OPERATOR
    return labelled and controller(meta).get("uid") == gateway.uid


def _without_data(child: Object) -> Object:
    """A Secret's body is handed on only where ``Facts`` names it."""
    if child.get("kind") != SECRET:
        return child
    return {key: value for key, value in child.items() if key not in {"data", "stringData"}}


def _decoded(data: Mapping[str, str] | None) -> Mapping[str, bytes] | None:
    if data is None:
        return None
    return {key: _bytes(value) for key, value in data.items()}


def _bytes(value: str) -> bytes:
    try:
        return base64.b64decode(value or "", validate=True)
    except binascii.Error:
        return b""  # the API server stores nothing else than base64
