"""Read once what a decision needs, and no more.

Most children are known from the watch by a few strings (``cluster/children.py``). In full are read
only those whose content a decision needs. A child that no watch has told of counts as absent: what
is made goes by ``NOT_THERE``, so a stranger of that name is met with a conflict and nothing of it
is touched. From then on the name is asked for at each look, until it is free.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from smtp_operator.cluster.api import Cluster
from smtp_operator.cluster.children import Children, Place, controller, digest, seen
from smtp_operator.errors import NotFound
from smtp_operator.fleet import names, references
from smtp_operator.fleet.model import Facts, Gateway, Key, Object, Ref

# Their status or spec decides something: pods, metrics, the issuer's answer.
READ_IN_FULL = frozenset({"Deployment", "HorizontalPodAutoscaler", "Certificate"})
SECRET = "Secret"  # noqa: S105  # a kind
CONFIG_MAP = "ConfigMap"


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
        self._taken: dict[Key, set[Ref]] = {}  # names that strangers were met under
        self.optional_kinds: frozenset[str] = frozenset()

    async def observe(self, gateway: Gateway, now: datetime) -> Facts:
        """All that a decision about this gateway needs.

        Raises:
            OperatorError: the cluster does not answer.
        """
        known = self._known(gateway)
        asked = sorted(self._to_read(gateway, known))
        answers = await asyncio.gather(*(self._read(gateway, ref) for ref in asked))
        told: dict[Ref, Object | None] = dict(zip(asked, answers, strict=True))
        found = {ref: o for ref, o in told.items() if o is not None}
        children = known | {r: o for r, o in found.items() if is_ours(o, gateway)}
        strangers = {r for r, o in found.items() if not is_ours(o, gateway)}
        if self._fresh(gateway, known):
            told |= dict.fromkeys(_own_secrets(gateway))
        secrets = await self._data(SECRET, gateway, references.secret_names(gateway), told)
        maps = await self._data(CONFIG_MAP, gateway, references.config_map_names(gateway), told)
        return Facts(
            children={ref: _without_data(child) for ref, child in children.items()},
            strangers=frozenset(strangers),
            secrets={name: _decoded(data) for name, data in secrets.items()},
            config_maps=maps,
            kinds=self.optional_kinds,
            default_image=self._image,
            now=now,
        )

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

    def forget(self, key: Key) -> None:
        """The gateway is gone."""
        self._taken.pop(key, None)

    def _to_read(self, gateway: Gateway, known: Mapping[Ref, Object]) -> set[Ref]:
        wanted = {ref for ref in known if _in_full(gateway, ref)}
        wanted |= {r for r in names.refs(gateway) - set(known) if self._doubtful(gateway, r)}
        if not self._secrets_watched and not self._fresh(gateway, known):
            wanted |= _own_secrets(gateway)
        return {ref for ref in wanted if self._served(ref.kind)}

    def _doubtful(self, gateway: Gateway, ref: Ref) -> bool:
        """Whether somebody else was seen under this name: also a predecessor of our own name."""
        place = Place(ref.kind, gateway.key.namespace, ref.name)
        taken = ref in self._taken.get(gateway.key, ())
        return taken or self._children.get(place) is not None

    def _fresh(self, gateway: Gateway, known: Mapping[Ref, Object]) -> bool:
        """Whether nobody has looked at it before, so that it has no Secrets of ours either."""
        return not known and not gateway.status

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
            self._note_owner(gateway, ref, stranger=False)
            return None
        self._note(gateway, place, found)
        self._note_owner(gateway, ref, stranger=not is_ours(found, gateway))
        return found

    def _note(self, gateway: Gateway, place: Place, found: Object) -> None:
        child = seen(place.kind, found)
        if is_ours(found, gateway) and not is_whole(found, gateway):
            owned = replace(child, owner_uid=gateway.uid, owner_name=gateway.key.name)
            self._children.loosened(owned)
        elif _labelled(found):  # a predecessor's too: we are to hear when it goes
            _ = self._children.note(child)
        else:
            self._children.gone(place)

    def _note_owner(self, gateway: Gateway, ref: Ref, *, stranger: bool) -> None:
        taken = self._taken.setdefault(gateway.key, set())
        (taken.add if stranger else taken.discard)(ref)
        if not taken:
            del self._taken[gateway.key]

    async def _data(
        self, kind: str, gateway: Gateway, wanted: Iterable[str], told: Mapping[Ref, Object | None]
    ) -> dict[str, Any]:
        """Name -> data of referenced objects, None for what is not there."""
        order = sorted(wanted)
        answers = await asyncio.gather(*(self._content(kind, gateway, n, told) for n in order))
        return dict(zip(order, answers, strict=True))

    async def _content(
        self, kind: str, gateway: Gateway, name: str, told: Mapping[Ref, Object | None]
    ) -> Mapping[str, Any] | None:
        ref = Ref(kind, name)
        if ref in told:
            body = told[ref]
        else:
            try:
                body = await self._cluster.get(kind, gateway.key.namespace, name)
            except NotFound:
                body = None
        return None if body is None else body.get("data") or {}


def after_writing(facts: Facts, live: Mapping[Ref, Object], gone: frozenset[Ref]) -> Facts:
    """The facts with what the API server answered to our writes: as the next look would see it."""
    kept = {ref: child for ref, child in facts.children.items() if ref not in gone}
    made = {ref: _without_data(child) for ref, child in live.items()}
    secrets = {
        name: _decoded(live[Ref(SECRET, name)].get("data") or {})
        if Ref(SECRET, name) in live
        else data
        for name, data in facts.secrets.items()
    }
    return replace(facts, children=kept | made, secrets=secrets)


def _in_full(gateway: Gateway, ref: Ref) -> bool:
    """A Service's only where a balancer writes its address there."""
    balanced = ref.kind == "Service" and gateway.spec.service.type == "LoadBalancer"
    return balanced or ref.kind in READ_IN_FULL


def _own_secrets(gateway: Gateway) -> set[Ref]:
    own = (names.tls(gateway.key), names.ca(gateway.key))
    return {Ref(SECRET, name) for name in own if name != gateway.spec.tls.secret_name}


def is_ours(found: Mapping[str, Any], gateway: Gateway) -> bool:
    """Controlled by this gateway; or by nobody, and our labels and our own apply tell whose it is.

    Either may have been taken away by hand; the next apply brings it back.
    """
    meta = found["metadata"]
    owner = controller(meta)
    if owner:
        return bool(owner.get("uid") == gateway.uid)
    has = (meta.get("labels") or {}).items()
    return names.labels(gateway.key).items() <= has and bool(digest(found["kind"], meta))


def is_whole(found: Mapping[str, Any], gateway: Gateway) -> bool:
    """Our label, and a controller reference with this gateway's UID: only that may be deleted."""
    return _labelled(found) and controller(found["metadata"]).get("uid") == gateway.uid


def _labelled(found: Mapping[str, Any]) -> bool:
    labels = found["metadata"].get("labels") or {}
    return bool(labels.get(names.MANAGED_BY) == names.OPERATOR)


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
