"""From wanted children to live ones: send what differs, repair what drifted, delete the rest.

Nothing is sent when nothing changed. A child is sent when the hash of the wanted object differs
from the one in its annotation, when somebody changed a field that we own, or, once in the first
hour of leading, when a full comparison finds a difference. An apply names the UID that it means, or
that nothing is there (``NOT_THERE``), so it never merges into an object that took the name
meanwhile, and never revives one that was deleted.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from smtp_operator.cluster import ports
from smtp_operator.cluster.api import NOT_THERE, Cluster
from smtp_operator.cluster.children import APPLIED_HASH, MANAGER, Children, Place, Seen, seen
from smtp_operator.echoes import Echoes
from smtp_operator.errors import ClusterUnavailable, Conflict, OperatorError, Refused
from smtp_operator.fleet import hashes
from smtp_operator.fleet.conditions import Reason
from smtp_operator.fleet.decision import Decision, Failure
from smtp_operator.fleet.model import Gateway, Object, Ref
from smtp_operator.fleet.rules import amount
from smtp_operator.observe import Observer, is_ours, is_whole
from smtp_operator.telemetry import Event, Log, Metrics
from smtp_operator.utils.clock import Clock

HANDOVER_MANAGER = "smtp-operator-handover"
AUTOSCALER = "HorizontalPodAutoscaler"
DEPLOYMENT = "Deployment"
COMPARE_WITHIN_SECONDS = 3600.0
# A refusal of an immutable field is answered by delete and recreate only where that harms nobody.
RECREATABLE = frozenset({"PodDisruptionBudget"})


# Without them pods cannot start.
NEEDED_BY_PODS = frozenset({"ServiceAccount", "Secret", "ConfigMap"})


class _Taken(Exception):
    """The name belongs to somebody else."""


@dataclass(slots=True)
class Written:
    """What came of applying.

    Attributes:
        failures: what the API server refused, and names that are taken.
        live: what it answered, by kind and name.
    """

    failures: list[Failure] = field(default_factory=list)
    live: dict[Ref, Object] = field(default_factory=dict)


class Applier:
    """Writes the children of one gateway at a time.

    Args:
        cluster: where it writes.
        children: what is remembered of them.
        observer: reads before anything is destroyed.
        metrics: counts and times of writes.
        clock: for the one full comparison after beginning to lead.
        echoes: holds back what watches tell of a write under way.
    """

    def __init__(
        self,
        cluster: Cluster,
        children: Children,
        observer: Observer,
        metrics: Metrics,
        clock: Clock,
        echoes: Echoes,
    ) -> None:
        self._cluster = cluster
        self._children = children
        self._echoes = echoes
        self._observer = observer
        self._metrics = metrics
        self._clock = clock
        self._leading_since: float | None = None  # a standby may have started long before

    async def try_template(self, gateway: Gateway, wanted: Sequence[Object]) -> list[Failure]:
        """Ask the API server about a user's own pod template before anything is written."""
        if gateway.spec.pod_template is None:
            return []
        deployments = [child for child in wanted if child["kind"] == DEPLOYMENT]
        changed = [child for child in deployments if self._hash_differs(gateway, child)]
        for child in changed:
            try:
                await self._cluster.apply(self._body(gateway, child), manager=MANAGER, dry_run=True)
            except Conflict:
                if not await self._is_strangers(gateway, _ref(child)):
                    raise
                return [_taken(_ref(child))]
            except Refused as refusal:
                return [Failure(_ref(child), Reason.POD_TEMPLATE_REJECTED, refusal.detail)]
        return []

    async def apply(
        self,
        gateway: Gateway,
        decision: Decision,
        wanted: Sequence[Object],
        log: Log,
    ) -> Written:
        """Bring all children to what is wanted; what the API server refuses is returned.

        A taken name ends it: what is half made has to wait for the stranger, or for the user.

        Raises:
            OperatorError: anything that may go better next time.
        """
        written = Written()
        if decision.replicas.autoscaler_first:
            await self._delete(gateway, Ref(AUTOSCALER, gateway.key.name), log)
        for child in wanted:
            ref = _ref(child)
            if ref.kind == DEPLOYMENT:
                lack = _lack_of_pods(written)
                if lack is not None:
                    written.failures += self._held_back(gateway, child, lack)
                    continue
                await self._hand_over(gateway, decision, ref, log)
            try:
                await self._apply_one(gateway, child, ref, written, log)
            except _Taken:
                log.warning(Event.STRANGER, kind=ref.kind, child=ref.name)
                written.failures.append(_taken(ref))
                break
        return written

    def _held_back(self, gateway: Gateway, child: Object, lack: Ref) -> list[Failure]:
        """New pods would wait for what was refused, and never start; the old ones have theirs."""
        if not self._hash_differs(gateway, child):
            return []
        text = f"it waits for {lack.kind} {lack.name}, which was refused"
        return [Failure(_ref(child), Reason.APPLY_FAILED, text)]

    async def prune(
        self,
        gateway: Gateway,
        decision: Decision,
        wanted: Sequence[Object],
        failures: Sequence[Failure],
        log: Log,
    ) -> frozenset[Ref]:
        """Delete what is ours and wanted no longer; returns what that was.

        Of a kind that was refused nothing goes: it may be what the refused one was to replace.
        Where a name is taken, applying ended half way, and nothing goes at all.
        """
        if any(failure.reason is Reason.NAME_CONFLICT for failure in failures):
            return frozenset()
        refused = {failure.ref.kind for failure in failures}
        gone = set()
        stay = {_ref(child) for child in wanted} | decision.keep
        ours = self._children.of(gateway.key.namespace, gateway.key.name)
        for child in list(ours):
            ref = Ref(child.place.kind, child.place.name)
            unwanted = ref not in stay and ref.kind not in refused
            if child.owner_uid == gateway.uid and unwanted:
                await self._delete(gateway, ref, log)
                gone.add(ref)
        return frozenset(gone)

    async def _apply_one(
        self, gateway: Gateway, child: Object, ref: Ref, written: Written, log: Log
    ) -> None:
        if not await self._due(gateway, child, ref, log):
            return
        try:
            written.live[ref] = await self._send(gateway, child, ref, log)
        except Refused as refusal:
            live = await self._recreate(gateway, child, ref, refusal, log)
            live = live or await self._make_room(gateway, child, ref, log)
            if live is None:
                failure = Failure(ref, Reason.APPLY_FAILED, refusal.detail)
                written.failures.append(failure)
            else:
                written.live[ref] = live

    async def _due(self, gateway: Gateway, child: Object, ref: Ref, log: Log) -> bool:
        if self._hash_differs(gateway, child):
            return True
        place = _place(gateway, ref)
        if self._children.drifted(place):
            log.info(Event.DRIFT, kind=ref.kind, child=ref.name)
            return True
        if self._children.compared(place) or not self._time_to_compare(place):
            return False
        live = await self._observer.look(gateway, ref)
        self._children.mark_compared(place)
        return live is None or not contains(live, child) or bool(_foreign_ports(live, child))

    def _hash_differs(self, gateway: Gateway, child: Object) -> bool:
        known = self._known(gateway, _ref(child))
        return known is None or known.applied_hash != hashes.digest(child)

    def _time_to_compare(self, place: Place) -> bool:
        """Spread over the first hour of leading, at the same point of it each time."""
        now = self._clock.monotonic()
        if self._leading_since is None:
            self._leading_since = now  # only a leader comes here
        share = zlib.crc32("/".join(place).encode()) / 2**32
        return now >= self._leading_since + share * COMPARE_WITHIN_SECONDS

    async def _send(self, gateway: Gateway, child: Object, ref: Ref, log: Log) -> Object:
        try:
            with self._echoes.writing(_place(gateway, ref)):
                live = await self._timed(ref, self._body(gateway, child), MANAGER, force=True)
                if excess := _foreign_ports(live, child):
                    live = await self._amend(gateway, ref, excess)
                self._children.applied(seen(ref.kind, live))
        except Conflict as conflict:
            if await self._is_strangers(gateway, ref):
                raise _Taken from conflict
            raise
        log.info(Event.APPLIED, kind=ref.kind, child=ref.name)
        return live

    async def _is_strangers(self, gateway: Gateway, ref: Ref) -> bool:
        """After a conflict: what we remembered is wrong, so look whose it is."""
        found = await self._observer.look(gateway, ref)
        return found is not None and not is_ours(found, gateway)

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
    ) -> Object | None:
        if ref.kind not in RECREATABLE or "immutable" not in refusal.detail:
            return None
        await self._delete(gateway, ref, log)
        return await self._send(gateway, child, ref, log)

    async def _make_room(
        self, gateway: Gateway, child: Object, ref: Ref, log: Log
    ) -> Object | None:
        """A port changed by hand has our port's name: see ``ports``."""
        live = await self._observer.look(gateway, ref)
        if live is None or not is_ours(live, gateway) or not _foreign_ports(live, child):
            return None
        await self._amend(gateway, ref, ports.renaming(live, child))
        return await self._send(gateway, child, ref, log)

    async def _amend(self, gateway: Gateway, ref: Ref, patch: ports.Patch) -> Object:
        live = await self._cluster.amend(ref.kind, gateway.key.namespace, ref.name, patch)
        self._metrics.applies.labels(ref.kind, "amended").inc()
        return live

    async def _delete(self, gateway: Gateway, ref: Ref, log: Log) -> None:
        """Read again before anything is destroyed: the memory may be wrong."""
        live = await self._observer.look(gateway, ref)
        if live is None or not is_whole(live, gateway):
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
        """The wanted object with its hash; and which one we mean, or that nothing is there."""
        meta = dict(child["metadata"])
        meta["annotations"] = {
            **(meta.get("annotations") or {}),
            APPLIED_HASH: hashes.digest(child),
        }
        known = self._known(gateway, _ref(child))
        which = {"resourceVersion": NOT_THERE} if known is None else {"uid": known.uid}
        return {**child, "metadata": meta | which}

    def _known(self, gateway: Gateway, ref: Ref) -> Seen | None:
        known = self._children.get(_place(gateway, ref))
        return known if known is not None and known.owner_uid == gateway.uid else None

    async def _timed(self, ref: Ref, body: Object, manager: str, *, force: bool) -> Object:
        with counted(ref.kind, self._metrics, self._clock):
            return await self._cluster.apply(body, manager=manager, force=force)


@contextmanager
def counted(kind: str, metrics: Metrics, clock: Clock) -> Iterator[None]:
    """Count one write, and measure it."""
    began = clock.monotonic()
    result = "applied"
    try:
        yield
    except OperatorError as error:
        result = APPLY_RESULT.get(type(error), "unavailable")
        raise
    finally:
        metrics.applies.labels(kind, result).inc()
        metrics.apply_seconds.labels(kind).observe(clock.monotonic() - began)


APPLY_RESULT: Mapping[type[OperatorError], str] = {
    Conflict: "conflict",
    Refused: "refused",
    ClusterUnavailable: "unavailable",
}


def _place(gateway: Gateway, ref: Ref) -> Place:
    return Place(ref.kind, gateway.key.namespace, ref.name)


def _ref(child: Object) -> Ref:
    return Ref(child["kind"], child["metadata"]["name"])


def _taken(ref: Ref) -> Failure:
    return Failure(ref, Reason.NAME_CONFLICT, "the name is taken")


def _lack_of_pods(written: Written) -> Ref | None:
    """What pods need and the API server refused."""
    refused = (failure.ref for failure in written.failures)
    return next((ref for ref in refused if ref.kind in NEEDED_BY_PODS), None)


def _foreign_ports(live: Object, child: Object) -> ports.Patch:
    return ports.removal(live, child) if child["kind"] == ports.KIND else []


def contains(live: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; what the API server or others added does not count."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            _same_amounts(live.get(key), value)
            if key in AMOUNTS
            else contains(live.get(key), value)
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and _contains_items(live, wanted)
    return bool(live == wanted)


# Where quantities stand. The API server stores their shortest form: 1 for 1000m, 1Gi for 1024Mi.
AMOUNTS = frozenset({"limits", "requests", "sizeLimit", "averageValue"})


def _same_amounts(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            _same_amounts(live.get(key), value) for key, value in wanted.items()
        )
    try:
        return amount(live) == amount(wanted)
    except ValueError:
        return bool(live == wanted)


def _contains_items(live: list[Any], wanted: list[Any]) -> bool:
    """In order; but what has a name is found by it, as others may have added to such lists."""
    if all(isinstance(item, dict) and "name" in item for item in [*wanted, *live]):
        named = {item["name"]: item for item in live}
        return all(contains(named.get(item["name"]), item) for item in wanted)
    return len(live) == len(wanted) and all(map(contains, live, wanted))
