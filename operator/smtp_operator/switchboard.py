"""From whatever was heard to the key to look at.

A standby hears all the same, so it knows every gateway when it begins to lead; it only queues
nothing. What was edited just before it took over goes first: the former leader may not have got
round to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from smtp_operator.cluster.children import Children, Place, Seen, seen
from smtp_operator.cluster.kinds import GATEWAY
from smtp_operator.echoes import Echoes
from smtp_operator.fleet.model import Key
from smtp_operator.fleet.names import MANAGED_BY, OPERATOR
from smtp_operator.observe import READ_IN_FULL
from smtp_operator.reconcile import Interests
from smtp_operator.utils.clock import Clock
from smtp_operator.workqueue import Priority, WorkQueue

GATHER_SECONDS = 0.5  # counts of pods change many times in a rollout
RECENT_SECONDS = 60.0
# Their status counts. A budget's, which changes with each pod, says nothing new; and whatever is
# changed of what we own is drift.
TELLING = READ_IN_FULL | {"Service"}


class Switchboard:
    """Hears kopf and the watches.

    Args:
        queue: where keys go.
        children: memory of children.
        interests: who reads which Secret and ConfigMap.
        clock: for what is recent.
        own_write: whether a version of a gateway is what we wrote ourselves.
        echoes: holds events back while we write.
    """

    def __init__(
        self,
        queue: WorkQueue[Key],
        children: Children,
        interests: Interests,
        clock: Clock,
        own_write: Callable[[Key, str], bool],
        echoes: Echoes,
    ) -> None:
        self._queue = queue
        self._children = children
        self._interests = interests
        self._clock = clock
        self._own_write = own_write
        self._echoes = echoes
        self._known: dict[Key, float | None] = {}  # when it was last edited, as far as heard
        self._leading = False

    def lead(self) -> None:
        """From now on queue what is heard; begin with everything."""
        self._leading = True
        now = self._clock.monotonic()
        for key, edited_at in self._known.items():
            recent = edited_at is not None and now - edited_at < RECENT_SECONDS
            self._queue.add(key, Priority.EDIT if recent else Priority.ROUTINE)

    def look_at_all(self) -> None:
        """Something changed that concerns every gateway."""
        for key in self._known:
            self._wake(key, Priority.ROUTINE)

    def stop(self) -> None:
        """Queue nothing more."""
        self._leading = False

    def known(self) -> frozenset[Key]:
        """All gateways heard of."""
        return frozenset(self._known)

    def forget(self, key: Key) -> None:
        """The gateway is gone."""
        self._known.pop(key, None)

    def gateway_seen(self, metadata: Mapping[str, Any], *, listed: bool) -> None:
        """See ``events.Sink``."""
        key = _key(metadata)
        if self._echoes.hold((GATEWAY, *key), partial(self.gateway_seen, metadata, listed=listed)):
            return
        # A list may show our status on top of an edit that nobody told us of.
        if not listed and self._own_write(key, metadata.get("resourceVersion", "")):
            return
        edit = Priority.EDIT if key in self._known else Priority.NEW
        edited_at = None if listed else self._clock.monotonic()
        self._known[key] = edited_at if edited_at is not None else self._known.get(key)
        self._wake(key, Priority.ROUTINE if listed else edit)

    def gateway_deleted(self, metadata: Mapping[str, Any]) -> None:
        """See ``events.Sink``."""
        self._wake(_key(metadata), Priority.EDIT)
        if not self._leading:
            self.forget(_key(metadata))

    def changed(self, kind: str, metadata: dict[str, Any]) -> None:
        """See ``watches.Listener``."""
        meta = metadata["metadata"]
        place = _place(kind, meta)
        if self._echoes.hold(place, partial(self.changed, kind, metadata)):
            return
        before = self._children.get(place)
        if _labelled(meta):
            child = seen(kind, metadata)
            note = self._children.note if self._leading else self._children.follow
            if not note(child):
                return  # what we wrote ourselves, or older
            drifted = self._children.drifted(child.place)
            if drifted or kind in TELLING or before is None or before.uid != child.uid:
                # Without its controller it names nobody to repair it; whoever had it is to look.
                owned = child if child.owner_name or before is None else before
                self._wake_owner(owned, drifted=drifted)
        elif before is not None and before.uid == meta["uid"]:
            self._lose(before)  # our label is gone, which a watch by label tells as a deletion
        self._wake_readers(kind, meta)

    def vanished(self, kind: str, metadata: dict[str, Any]) -> None:
        """See ``watches.Listener``."""
        meta = metadata["metadata"]
        place = _place(kind, meta)
        if self._echoes.hold(place, partial(self.vanished, kind, metadata)):
            return
        known = self._children.get(place)
        if known is not None and known.uid == meta["uid"]:
            self._lose(known)
        self._wake_readers(kind, meta)

    def listed(self, kind: str, namespace: str, metadata: list[dict[str, Any]]) -> None:
        """See ``watches.Listener``."""
        for item in metadata:
            self.changed(kind, item)
        ours = [seen(kind, item).place for item in metadata if _labelled(item["metadata"])]
        for absent in self._children.keep_only(kind, namespace, set(ours)):
            self._wake_owner(absent, drifted=True)

    def _lose(self, child: Seen) -> None:
        self._children.gone(child.place, child.uid)
        self._wake_owner(child, drifted=True)

    def _wake_owner(self, child: Seen, *, drifted: bool) -> None:
        if not child.owner_name:
            return
        key = Key(child.place.namespace, child.owner_name)
        if drifted:
            self._wake(key, Priority.EDIT)
        elif self._leading:
            self._queue.add_after(key, GATHER_SECONDS, Priority.ROUTINE)

    def _wake_readers(self, kind: str, meta: Mapping[str, Any]) -> None:
        for key in self._interests.readers(kind, meta.get("namespace", ""), meta["name"]):
            self._wake(key, Priority.EDIT)

    def _wake(self, key: Key, priority: Priority) -> None:
        if self._leading:
            self._queue.add(key, priority)


def _key(metadata: Mapping[str, Any]) -> Key:
    return Key(metadata["namespace"], metadata["name"])


def _place(kind: str, meta: Mapping[str, Any]) -> Place:
    return Place(kind, meta.get("namespace", ""), meta["name"])


def _labelled(meta: Mapping[str, Any]) -> bool:
    return (meta.get("labels") or {}).get(MANAGED_BY) == OPERATOR
