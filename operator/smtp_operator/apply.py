"""From wanted children to live ones: send what differs, repair what drifted, delete the rest.

Nothing is sent when nothing changed. A child is sent when the hash of the wanted object differs
from the one in its annotation, when somebody changed a field that we own, or, once after a start,
when a full comparison finds a difference. An apply names the UID that it means, so it never
merges into an object that took the name meanwhile, and never revives one that was deleted.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from smtp_operator.cluster import ports
from smtp_operator.cluster.api import Cluster
from smtp_operator.cluster.children import APPLIED_HASH, MANAGER, Children, Place, Seen, seen
from smtp_operator.errors import ClusterUnavailable, Conflict, OperatorError, Refused
from smtp_operator.fleet import hashes
from smtp_operator.fleet.conditions import Reason
from smtp_operator.fleet.decision import Decision, Failure
from smtp_operator.fleet.model import Gateway, Object, Ref
from smtp_operator.observe import Observed, Observer, is_ours
from smtp_operator.telemetry import Event, Log, Metrics
from smtp_operator.utils.clock import Clock

HANDOVER_MANAGER = "smtp-operator-handover"
AUTOSCALER = "HorizontalPodAutoscaler"
DEPLOYMENT = "Deployment"
COMPARE_WITHIN_SECONDS = 3600.0
# A refusal of an immutable field is answered by delete and recreate only where that harms nobody.
RECREATABLE = frozenset({"PodDisruptionBudget"})


class Applier:
    """Writes the children of one gateway at a time.

    Args:
        cluster: where it writes.
        children: what is remembered of them.
        observer: reads before anything is destroyed.
        metrics: counts and times of writes.
        clock: for the one full comparison after a start.
    """

    def __init__(
        self,
        cluster: Cluster,
        children: Children,
        observer: Observer,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._children = children
        self._observer = observer
        self._metrics = metrics
        self._clock = clock
        self._started_at = clock.monotonic()

    async def try_template(self, gateway: Gateway, wanted: Sequence[Object]) -> list[Failure]:
        """Ask the API server about a user's own pod template before anything is written."""
        if gateway.spec.pod_template is None:
            return []
        deployments = [child for child in wanted if child["kind"] == DEPLOYMENT]
        changed = [child for child in deployments if self._hash_differs(gateway, child)]
        for child in changed:
            try:
                await self._cluster.apply(self._body(gateway, child), manager=MANAGER, dry_run=True)
            except Refused as refusal:
                ref = Ref(DEPLOYMENT, child["metadata"]["name"])
                return [Failure(ref, Reason.POD_TEMPLATE_REJECTED, refusal.detail)]
        return []

    async def apply(
        self,
        gateway: Gateway,
        decision: Decision,
        wanted: Sequence[Object],
        observed: Observed,
        log: Log,
    ) -> list[Failure]:
        """Bring all children to what is wanted; what the API server refuses is returned.

        Raises:
            OperatorError: anything that may go better next time.
        """
        failures: list[Failure] = []
        if decision.replicas.autoscaler_first:
            await self._delete(gateway, Ref(AUTOSCALER, gateway.key.name), log)
        for child in wanted:
            ref = Ref(child["kind"], child["metadata"]["name"])
            if ref.kind == DEPLOYMENT:
                await self._hand_over(gateway, decision, ref, log)
            failure = await self._apply_one(gateway, child, ref, observed, log)
            if failure is not None:
                failures.append(failure)
        return failures

    async def prune(
        self, gateway: Gateway, decision: Decision, wanted: Sequence[Object], log: Log
    ) -> None:
        """Delete what is ours and wanted no longer."""
        stay = {Ref(child["kind"], child["metadata"]["name"]) for child in wanted} | decision.keep
        ours = self._children.of(gateway.key.namespace, gateway.key.name)
        for child in list(ours):
            ref = Ref(child.place.kind, child.place.name)
            if child.owner_uid == gateway.uid and ref not in stay:
                await self._delete(gateway, ref, log)

    async def _apply_one(
        self, gateway: Gateway, child: Object, ref: Ref, observed: Observed, log: Log
    ) -> Failure | None:
        if self._known(gateway, ref) is None and ref not in observed.absent:
            found = await self._observer.look(gateway, ref)
            if found is not None and not is_ours(found, gateway):
                log.warning(Event.STRANGER, kind=ref.kind, child=ref.name)
                return Failure(ref, Reason.NAME_CONFLICT, "the name is taken")
        if not await self._due(gateway, child, ref, log):
            return None
        try:
            await self._send(gateway, child, ref, log)
        except Refused as refusal:
            if not (
                await self._recreate(gateway, child, ref, refusal, log)
                or await self._make_room(gateway, child, ref, log)
            ):
                return Failure(ref, Reason.APPLY_FAILED, refusal.detail)
        return None

    async def _due(self, gateway: Gateway, child: Object, ref: Ref, log: Log) -> bool:
        if self._hash_differs(gateway, child):
            return True
        place = _place(gateway, ref)
        if self._children.drifted(place):
            log.info(Event.DRIFT, kind=ref.kind, child=ref.name)
            return True
        if self._children.compared(place) or self._clock.monotonic() < self._compare_at(place):
            return False
        live = await self._observer.look(gateway, ref)
        self._children.mark_compared(place)
        return live is None or not contains(live, child) or bool(_foreign_ports(live, child))

    def _hash_differs(self, gateway: Gateway, child: Object) -> bool:
        known = self._known(gateway, Ref(child["kind"], child["metadata"]["name"]))
        return known is None or known.applied_hash != hashes.digest(child)

    def _compare_at(self, place: Place) -> float:
        """Spread over the first hour, at the same point of it each time."""
        share = zlib.crc32("/".join(place).encode()) / 2**32
        return self._started_at + share * COMPARE_WITHIN_SECONDS

    async def _send(self, gateway: Gateway, child: Object, ref: Ref, log: Log) -> None:
        try:
            live = await self._timed(ref, self._body(gateway, child), MANAGER, force=True)
        except Conflict:
            await self._observer.look(gateway, ref)  # what we remembered of it is wrong
            raise
        if excess := _foreign_ports(live, child):
            live = await self._amend(gateway, ref, excess)
        self._children.applied(seen(ref.kind, live))
        log.info(Event.APPLIED, kind=ref.kind, child=ref.name)

    async def _hand_over(self, gateway: Gateway, decision: Decision, ref: Ref, log: Log) -> None:
        """Let another manager hold the number of pods before we let go of it.

        Not by force: when the autoscaler has taken the field meanwhile, there is nothing to do.
        """
        known, number = self._known(gateway, ref), decision.replicas.handover
        if number is None or known is None:
            return
        body: Object = {
            "apiVersion": "apps/v1",
            "kind": DEPLOYMENT,
            "metadata": {"namespace": gateway.key.namespace, "name": ref.name, "uid": known.uid},
            "spec": {"replicas": number},
        }
        await self._timed(ref, body, HANDOVER_MANAGER, force=False)
        log.info(Event.HANDED_OVER, replicas=number)

    async def _recreate(
        self, gateway: Gateway, child: Object, ref: Ref, refusal: Refused, log: Log
    ) -> bool:
        if ref.kind not in RECREATABLE or "immutable" not in refusal.detail:
            return False
        await self._delete(gateway, ref, log)
        await self._send(gateway, child, ref, log)
        return True

    async def _make_room(self, gateway: Gateway, child: Object, ref: Ref, log: Log) -> bool:
        """A port changed by hand has our port's name: see ``ports``."""
        live = await self._observer.look(gateway, ref)
        if live is None or not is_ours(live, gateway) or not _foreign_ports(live, child):
            return False
        await self._amend(gateway, ref, ports.renaming(live, child))
        await self._send(gateway, child, ref, log)
        return True

    async def _amend(self, gateway: Gateway, ref: Ref, patch: ports.Patch) -> Object:
        live = await self._cluster.amend(ref.kind, gateway.key.namespace, ref.name, patch)
        self._metrics.applies.labels(ref.kind, "amended").inc()
        return live

    async def _delete(self, gateway: Gateway, ref: Ref, log: Log) -> None:
        """Read again before anything is destroyed: the memory may be wrong."""
        live = await self._observer.look(gateway, ref)
        if live is None or not is_ours(live, gateway):
            return
        meta = live["metadata"]
        if not meta.get("deletionTimestamp"):
            await self._cluster.delete(
                ref.kind,
                gateway.key.namespace,
                ref.name,
                uid=meta["uid"],
                resource_version=meta["resourceVersion"],
            )
            self._metrics.applies.labels(ref.kind, "deleted").inc()
            log.info(Event.DELETED, kind=ref.kind, child=ref.name)
        self._children.gone(_place(gateway, ref), meta["uid"])

    def _body(self, gateway: Gateway, child: Object) -> Object:
        """The wanted object with its hash, and the UID when we mean one that is there."""
        meta = dict(child["metadata"])
        meta["annotations"] = {
            **(meta.get("annotations") or {}),
            APPLIED_HASH: hashes.digest(child),
        }
        known = self._known(gateway, Ref(child["kind"], meta["name"]))
        if known is not None:
            meta["uid"] = known.uid
        return {**child, "metadata": meta}

    def _known(self, gateway: Gateway, ref: Ref) -> Seen | None:
        known = self._children.get(_place(gateway, ref))
        return known if known is not None and known.owner_uid == gateway.uid else None

    async def _timed(self, ref: Ref, body: Object, manager: str, *, force: bool) -> Object:
        began = self._clock.monotonic()
        result = "applied"
        try:
            return await self._cluster.apply(body, manager=manager, force=force)
        except OperatorError as error:
            result = APPLY_RESULT.get(type(error), "unavailable")
            raise
        finally:
            self._metrics.applies.labels(ref.kind, result).inc()
            self._metrics.apply_seconds.labels(ref.kind).observe(self._clock.monotonic() - began)


APPLY_RESULT: Mapping[type[OperatorError], str] = {
    Conflict: "conflict",
    Refused: "refused",
    ClusterUnavailable: "unavailable",
}


def _place(gateway: Gateway, ref: Ref) -> Place:
    return Place(ref.kind, gateway.key.namespace, ref.name)


def _foreign_ports(live: Object, child: Object) -> ports.Patch:
    return ports.removal(live, child) if child["kind"] == ports.KIND else []


def contains(live: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; what the API server or others added does not count."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            contains(live.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and _contains_items(live, wanted)
    return bool(live == wanted)


def _contains_items(live: list[Any], wanted: list[Any]) -> bool:
    """In order; but what has a name is found by it, as others may have added to such lists."""
    if all(isinstance(item, dict) and "name" in item for item in [*wanted, *live]):
        named = {item["name"]: item for item in live}
        return all(contains(named.get(item["name"]), item) for item in wanted)
    return len(live) == len(wanted) and all(map(contains, live, wanted))
