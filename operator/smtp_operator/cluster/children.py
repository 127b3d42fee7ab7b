"""What is remembered of children: a few strings each, never a body.

The API server notes in ``managedFields`` which fields our manager owns. Whoever changes or removes
one of them takes it out of our entry; so a digest of that entry alone, which a watch of metadata
brings, tells that a child was edited behind our back, whatever the value. A Service's ports are
ours alone (``ports``), so there the digest also speaks of ports that only others own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from smtp_operator.cluster import ports
from smtp_operator.cluster.api import Object
from smtp_operator.cluster.kinds import KINDS

APPLIED_HASH = "smtp.cakemail.com/applied-hash"
MANAGER = "smtp-operator"
LOOSE = "loose"  # no digest: whatever is there is not what we applied


class Place(NamedTuple):
    """Where an object is."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of one object.

    Attributes:
        place: kind, namespace, name.
        uid: of the object.
        resource_version: of the object.
        created_at: RFC 3339.
        owner_uid: UID of its controller, "" without one.
        owner_name: name of its controller, "" without one.
        applied_hash: our annotation, "" without it.
        digest: of what our manager owns in it, "" when that is nothing.
    """

    place: Place
    uid: str
    resource_version: str
    created_at: str
    owner_uid: str
    owner_name: str
    applied_hash: str
    digest: str

    def as_object(self) -> Object:
        """The metadata that is known, in the API's form."""
        kind = KINDS[self.place.kind]
        return {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {
                "name": self.place.name,
                "namespace": self.place.namespace,
                "uid": self.uid,
                "resourceVersion": self.resource_version,
                "creationTimestamp": self.created_at,
                "annotations": {APPLIED_HASH: self.applied_hash},
            },
        }


def seen(kind: str, found: Mapping[str, Any]) -> Seen:
    """What to keep of a live object, or of its metadata."""
    meta = found["metadata"]
    owner = controller(meta)
    return Seen(
        place=Place(kind, meta.get("namespace", ""), meta["name"]),
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        created_at=meta.get("creationTimestamp") or "",
        owner_uid=owner.get("uid", ""),
        owner_name=owner.get("name", ""),
        applied_hash=(meta.get("annotations") or {}).get(APPLIED_HASH, ""),
        digest=digest(kind, meta),
    )


def controller(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """The owner reference that controls, {} without one."""
    owners = meta.get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), {})


def digest(kind: str, meta: Mapping[str, Any]) -> str:
    """Digest of the field paths that our manager owns by apply; "" when there are none."""
    entries = meta.get("managedFields") or []
    ours = next((entry.get("fieldsV1") for entry in entries if _is_ours(entry)), None)
    if ours is None:
        return ""
    foreign: set[str] = set()
    if kind == ports.KIND:
        others = [_ports(entry.get("fieldsV1")) for entry in entries if not _is_ours(entry)]
        foreign = set().union(*others) - _ports(ours)
    owned = json.dumps([ours, sorted(foreign)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(owned.encode()).hexdigest()[:16]


def _is_ours(entry: Mapping[str, Any]) -> bool:
    applied = entry.get("manager") == MANAGER and entry.get("operation") == "Apply"
    return applied and not entry.get("subresource")


def _ports(fields: Mapping[str, Any] | None) -> set[str]:
    """Ports that a manager has a claim on, by ``k:{"port":25,"protocol":"TCP"}``."""
    return {
        name
        for name in ((fields or {}).get("f:spec") or {}).get("f:ports") or {}
        if name.startswith("k:")
    }


class Children:
    """Live children as far as watches and our own writes have told: a hint, not the truth.

    After a write the answer is noted at once, so that the next look does not write again because
    the watch lags; an older event that comes later is left aside.
    """

    def __init__(self) -> None:
        self._seen: dict[Place, Seen] = {}
        self._of_gateway: dict[tuple[str, str], set[Place]] = {}
        self._kept: dict[Place, tuple[str, str]] = {}  # uid, digest after the last apply
        self._compared: dict[Place, str] = {}  # uid of what was once compared in full

    def note(self, child: Seen) -> bool:
        """Take in what an event, a list or a GET told; False when it was known, or is older."""
        known = self._seen.get(child.place)
        if known == child or (known is not None and _older(child, known)):
            return False
        self._drop(child.place)
        self._seen[child.place] = child
        self._of_gateway.setdefault(_owner(child), set()).add(child.place)
        kept = self._kept.get(child.place)
        if kept is None or kept[0] != child.uid:
            # After a start nothing is known of the last apply: what is there counts as it.
            self._kept[child.place] = (child.uid, child.digest)
        return True

    def follow(self, child: Seen) -> bool:
        """As ``note``, while another process leads: a new hash is that of its apply, no drift."""
        known = self._seen.get(child.place)
        news = self.note(child)
        if news and known is not None and known.applied_hash != child.applied_hash:
            self._kept[child.place] = (child.uid, child.digest)
        return news

    def applied(self, child: Seen) -> None:
        """Take in the answer to our own apply."""
        self._kept[child.place] = (child.uid, child.digest)
        self._compared[child.place] = child.uid
        self.note(child)

    def loosened(self, child: Seen) -> None:
        """Take in one that lost our label or its controller: drifted until our next apply."""
        self.note(child)
        self._kept[child.place] = (child.uid, LOOSE)

    def gone(self, place: Place, uid: str = "") -> None:
        """Forget an object, if it is the one with this UID."""
        known = self._seen.get(place)
        if known is None or (uid and known.uid != uid):
            return
        self._drop(place)
        self._kept.pop(place, None)
        self._compared.pop(place, None)

    def keep_only(self, kind: str, namespace: str, places: set[Place]) -> list[Seen]:
        """Evict what a full list of a kind did not show; namespace "" means all. Says what."""
        absent = [
            child
            for place, child in self._seen.items()
            if place.kind == kind and namespace in {"", place.namespace} and place not in places
        ]
        for child in absent:
            self.gone(child.place)
        return absent

    def get(self, place: Place) -> Seen | None:
        """What is known of one object."""
        return self._seen.get(place)

    def of(self, namespace: str, gateway: str) -> Iterator[Seen]:
        """All children whose controller is a gateway of this name."""
        for place in sorted(self._of_gateway.get((namespace, gateway), ())):
            yield self._seen[place]

    def drifted(self, place: Place) -> bool:
        """Whether somebody changed what we own since our last apply."""
        child, kept = self._seen.get(place), self._kept.get(place)
        return child is not None and kept is not None and kept != (child.uid, child.digest)

    def compared(self, place: Place) -> bool:
        """Whether this process has applied it, or compared it in full."""
        child = self._seen.get(place)
        return child is not None and self._compared.get(place) == child.uid

    def mark_compared(self, place: Place) -> None:
        """It was compared in full."""
        child = self._seen.get(place)
        if child is not None:
            self._compared[place] = child.uid

    def __len__(self) -> int:
        """How many are known."""
        return len(self._seen)

    def _drop(self, place: Place) -> None:
        known = self._seen.pop(place, None)
        if known is None:
            return
        places = self._of_gateway[_owner(known)]
        places.discard(place)
        if not places:
            del self._of_gateway[_owner(known)]


def _owner(child: Seen) -> tuple[str, str]:
    return child.place.namespace, child.owner_name


def _older(one: Seen, other: Seen) -> bool:
    """Versions of one object are whole numbers that grow (KEP-5504); else they tell nothing."""
    if (
        one.uid == other.uid
        and one.resource_version.isdecimal()
        and other.resource_version.isdecimal()
    ):
        return int(one.resource_version) < int(other.resource_version)
    return False
