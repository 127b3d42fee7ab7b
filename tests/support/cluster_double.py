"""A dictionary in place of an API server, at the seam ``cluster/api.py``.

It knows as much of server-side apply as the operator's rules need: who owns which field, conflicts,
removal of fields that nobody owns any more, resourceVersion, UID and generation, owner references
with garbage collection, and the trap that a Deployment without ``replicas`` has one. Lists are
atomic. What it cannot tell, the tests marked ``cluster`` ask a real API server.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from smtp_operator.cluster.api import Object
from smtp_operator.cluster.kinds import KINDS
from smtp_operator.errors import Conflict, NotFound, Refused

Place = tuple[str, str, str]
Path = tuple[str, ...]
Owner = tuple[str, str, str]  # manager, operation, subresource

SERVER_SET = frozenset({"uid", "resourceVersion", "creationTimestamp", "generation", "name",
                        "namespace", "managedFields", "deletionTimestamp"})  # fmt: skip
CREATED = "2026-11-24T08:00:00Z"


class Killed(Exception):
    """The process died right after a write."""


class _Stored:
    def __init__(self, body: Object) -> None:
        self.body = body
        self.owners: dict[Owner, set[Path]] = {}


class ClusterDouble:
    """Implements ``Cluster`` in memory.

    Attributes:
        writes: what was sent, as (verb, kind, name, manager), the no-ops included.
        changes: how many writes changed anything.
        events: Events created.
        refuse: called before each apply with its body; what it raises is the answer.
        before_get: called before each read with its place; what it raises is the answer.
        on_change: called with (type, kind, metadata) after each change.
    """

    def __init__(self) -> None:
        self._stored: dict[Place, _Stored] = {}
        self._versions = itertools.count(100)
        self._uids = itertools.count(1)
        self.writes: list[tuple[str, str, str, str]] = []
        self.changes = 0
        self.events: list[Object] = []
        self.refuse: Callable[[Object], None] = lambda _: None
        self.before_get: Callable[[str, str, str], object] = lambda *_: None
        self.on_change: Callable[[str, str, Object], None] = lambda *_: None
        self.die_after: int | None = None
        self.reads = 0

    # the seam

    async def get(self, kind: str, namespace: str, name: str) -> Object:
        """See ``Cluster``."""
        self.reads += 1
        self.before_get(kind, namespace, name)
        return self.read(kind, namespace, name)

    async def list_metadata(
        self, kind: str, namespace: str, *, labels: Mapping[str, str]
    ) -> list[Object]:
        """See ``Cluster``."""
        return [
            self._metadata(stored.body)
            for (k, ns, _), stored in sorted(self._stored.items())
            if k == kind and namespace in {"", ns} and _labelled(stored.body, labels)
        ]

    async def apply(
        self, body: Object, *, manager: str, force: bool = True, dry_run: bool = False
    ) -> Object:
        """See ``Cluster``."""
        self.refuse(body)
        if dry_run:
            self._check_preconditions(body, self._stored.get(_place(body)))
            return copy.deepcopy(body)
        return self._apply(body, (manager, "Apply", ""), force=force)

    async def apply_status(self, body: Object, *, manager: str) -> Object:
        """See ``Cluster``."""
        place = _place(body)
        if place not in self._stored:
            raise NotFound(f"{place} is not there")
        return self._apply(body, (manager, "Apply", "status"), force=True)

    async def amend(self, kind: str, namespace: str, name: str, patch: Sequence[Object]) -> Object:
        """See ``Cluster``; of lists only, as the operator uses it."""
        self.writes.append(("amend", kind, name, ""))
        place = (kind, namespace, name)
        after = self.read(*place)
        for step in patch:
            *parents, last = step["path"].strip("/").split("/")
            target: Any = after
            for part in parents:
                target = target[int(part)] if isinstance(target, list) else target[part]
            if step["op"] == "remove":
                del target[int(last)]
            elif step["op"] == "add":
                target[last] = step["value"]
            elif target[last] != step["value"]:
                raise Refused("the test failed", status=422, reason="Invalid")
        self._edit(place, after, ("smtp-operator", "Update", ""))
        return self.read(*place)

    async def delete(
        self, kind: str, namespace: str, name: str, *, uid: str, resource_version: str
    ) -> None:
        """See ``Cluster``."""
        self.writes.append(("delete", kind, name, ""))
        stored = self._stored.get((kind, namespace, name))
        if stored is not None:
            meta = stored.body["metadata"]
            if (meta["uid"], meta["resourceVersion"]) != (uid, resource_version):
                raise Conflict("a precondition does not hold")
            self.remove(kind, namespace, name)
        self._die()

    async def create_event(self, body: Object) -> None:
        """See ``Cluster``."""
        self.events.append(copy.deepcopy(body))

    async def patch_event(self, namespace: str, name: str, body: Object) -> None:
        """See ``Cluster``."""
        for event in self.events:
            if event["metadata"]["name"] == name:
                event.update(copy.deepcopy(body))
                return
        raise NotFound(f"event {name} is not there")

    # what tests and other actors do

    def read(self, kind: str, namespace: str, name: str) -> Object:
        """One object, without counting it as the operator's read."""
        stored = self._stored.get((kind, namespace, name))
        if stored is None:
            raise NotFound(f"{kind} {namespace}/{name} is not there")
        return copy.deepcopy(stored.body)

    def names(self, namespace: str) -> set[tuple[str, str]]:
        """Kind and name of all that is in a namespace, gateways apart."""
        found = ((k, name) for k, ns, name in self._stored if ns == namespace)
        return {(kind, name) for kind, name in found if kind != "SmtpGateway"}

    def create(self, body: Object, manager: str = "kubectl") -> Object:
        """What a user makes."""
        self._edit(_place(body), copy.deepcopy(body), (manager, "Update", ""))
        return self.read(*_place(body))

    def edit(
        self,
        kind: str,
        namespace: str,
        name: str,
        change: Callable[[Object], None],
        *,
        manager: str = "kubectl-edit",
        subresource: str = "",
    ) -> None:
        """What another actor changes; ownership of changed fields goes to it."""
        body = self.read(kind, namespace, name)
        change(body)
        self._edit((kind, namespace, name), body, (manager, "Update", subresource))

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, and what it controls."""
        stored = self._stored.pop((kind, namespace, name))
        self.changes += 1
        self.on_change("DELETED", kind, self._metadata(stored.body))
        uid = stored.body["metadata"]["uid"]
        for place, other in list(self._stored.items()):
            owners = other.body["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == uid for owner in owners) and place in self._stored:
                self.remove(*place)

    def snapshot(self, namespace: str) -> dict[tuple[str, str], Any]:
        """All that is in a namespace, without what differs from run to run."""
        return {
            (kind, name): _comparable(stored.body)
            for (kind, ns, name), stored in self._stored.items()
            if ns == namespace
        }

    # server-side apply

    def _apply(self, body: Object, owner: Owner, *, force: bool) -> Object:
        place = _place(body)
        self.writes.append(("status" if owner[2] else "apply", place[0], place[2], owner[0]))
        stored = self._stored.get(place)
        self._check_preconditions(body, stored)
        before = copy.deepcopy(stored.body) if stored else self._new(body)
        owners = {} if stored is None else {o: set(paths) for o, paths in stored.owners.items()}
        wanted = _leaves(_only(body, owner[2]))
        for path, value in wanted.items():
            holders = [o for o, paths in owners.items() if o != owner and path in paths]
            if holders and _at(before, path) != value:
                if not force:
                    raise Conflict(f"{'.'.join(path)} is owned by {holders[0][0]}")
                for holder in holders:
                    owners[holder].discard(path)
        after = copy.deepcopy(before)
        for path in owners.get(owner, set()) - set(wanted):
            if not any(path in paths for o, paths in owners.items() if o != owner):
                _unset(after, path)
        for path, value in wanted.items():
            _set(after, path, copy.deepcopy(value))
        owners[owner] = set(wanted)
        return self._store(place, after, owners)

    def _edit(self, place: Place, after: Object, owner: Owner) -> None:
        stored = self._stored.get(place)
        before = _leaves(stored.body) if stored else {}
        now = _leaves(after)
        changed = {path for path in set(before) | set(now) if before.get(path) != now.get(path)}
        owners = (
            {} if stored is None else {o: paths - changed for o, paths in stored.owners.items()}
        )
        owners[owner] = owners.get(owner, set()) | (changed & set(now))
        if stored is None:
            made = self._new(after)
            made.update({k: v for k, v in after.items() if k != "metadata"})
            made["metadata"] = {**after["metadata"], **made["metadata"]}
            after = made
        self._store(place, after, owners, theirs=True)

    def _store(
        self, place: Place, after: Object, owners: dict[Owner, set[Path]], *, theirs: bool = False
    ) -> Object:
        stored = self._stored.get(place)
        if place[0] == "Deployment":
            after.setdefault("spec", {}).setdefault("replicas", 1)
        if stored is None or _content(stored.body) != _content(after) or stored.owners != owners:
            meta = after["metadata"]
            if stored is not None and stored.body.get("spec") != after.get("spec"):
                meta["generation"] += 1
            meta["resourceVersion"] = str(next(self._versions))
            meta["managedFields"] = [_entry(o, paths) for o, paths in owners.items() if paths]
            kept = _Stored(after)
            kept.owners = owners
            self._stored[place] = kept
            if not theirs:
                self.changes += 1
            self.on_change(
                "ADDED" if stored is None else "MODIFIED", place[0], self._metadata(after)
            )
        answer = copy.deepcopy(self._stored[place].body)
        if not theirs:
            self._die()
        return answer

    def _new(self, body: Object) -> Object:
        meta = body["metadata"]
        return {
            "apiVersion": body["apiVersion"],
            "kind": body["kind"],
            "metadata": {
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": f"uid-{next(self._uids)}",
                "generation": 1,
                "creationTimestamp": CREATED,
            },
        }

    def _check_preconditions(self, body: Object, stored: _Stored | None) -> None:
        uid = body["metadata"].get("uid")
        if uid and (stored is None or stored.body["metadata"]["uid"] != uid):
            raise Conflict("uid mismatch")
        version = body["metadata"].get("resourceVersion")
        if version and stored is not None and stored.body["metadata"]["resourceVersion"] != version:
            raise Conflict("the object has been modified")

    def _die(self) -> None:
        if self.die_after is not None:
            self.die_after -= 1
            if self.die_after <= 0:
                self.die_after = None
                raise Killed

    def _metadata(self, body: Object) -> Object:
        return copy.deepcopy(
            {key: body[key] for key in ("apiVersion", "kind", "metadata") if key in body}
        )


def refused(kind: str, *, status: int = 403, detail: str = "quota") -> Callable[[Object], None]:
    """For ``ClusterDouble.refuse``: every apply of a kind is refused."""

    def refuse(body: Object) -> None:
        if body["kind"] == kind:
            raise Refused(detail, status=status, reason="Forbidden")

    return refuse


def _place(body: Object) -> Place:
    meta = body["metadata"]
    return body["kind"], meta["namespace"], meta["name"]


def _labelled(body: Object, labels: Mapping[str, str]) -> bool:
    has = body["metadata"].get("labels") or {}
    return all(has.get(name) == value for name, value in labels.items())


def _only(body: Object, subresource: str) -> Object:
    if subresource:
        return {subresource: body.get(subresource, {})}
    return {key: value for key, value in body.items() if key != "status"}


def _leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Paths to everything that is no mapping; server-set metadata left out."""
    if not isinstance(value, dict) or (not value and path):
        return {path: value}
    found: dict[Path, Any] = {}
    for key, item in value.items():
        if (path == () and key in {"apiVersion", "kind"}) or (
            path == ("metadata",) and key in SERVER_SET
        ):
            continue
        found |= _leaves(item, (*path, key))
    return found


def _at(body: Object, path: Path) -> Any:
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _set(body: Object, path: Path, value: Any) -> None:
    for step in path[:-1]:
        if not isinstance(body.get(step), dict):
            body[step] = {}
        body = body[step]
    body[path[-1]] = value


def _unset(body: Object, path: Path) -> None:
    for step in path[:-1]:
        if not isinstance(body.get(step), dict):
            return
        body = body[step]
    body.pop(path[-1], None)


def _entry(owner: Owner, paths: set[Path]) -> Object:
    fields: Object = {}
    for path in sorted(paths):
        level = fields
        for step in path:
            level = level.setdefault(f"f:{step}", {})
    entry: Object = {
        "manager": owner[0], "operation": owner[1], "fieldsType": "FieldsV1", "fieldsV1": fields,
    }  # fmt: skip
    if owner[2]:
        entry["subresource"] = owner[2]
    return entry


def _content(body: Object) -> str:
    meta = {key: v for key, v in body["metadata"].items() if key not in SERVER_SET}
    return json.dumps({**body, "metadata": meta}, sort_keys=True)


TIMES_AND_KEYS = frozenset({"lastTransitionTime", "startedAt", "data", "renewAt", "notAfter"})


def _comparable(body: Object) -> Any:
    """Without versions, times, and the random content of Secrets."""
    meta = {
        key: value
        for key, value in body["metadata"].items()
        if key not in SERVER_SET and key not in {"ownerReferences", "annotations"}
    }
    drop = TIMES_AND_KEYS if body["kind"] in {"Secret", "SmtpGateway"} else frozenset()
    return _without({**body, "metadata": meta}, drop)


def _without(value: Any, drop: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, drop) for key, item in value.items() if key not in drop}
    if isinstance(value, list):
        return [_without(item, drop) for item in value]
    return value


assert set(KINDS) >= {"SmtpGateway", "Deployment", "Secret"}  # names used above are the table's
