"""One look at one gateway: observe -> decide -> render -> apply -> prune -> status.

Whatever woke us, the whole is looked at: an event only says *look at this key*. Reading and
writing are at the edges (``observe``, ``apply``); deciding and rendering are pure. Only ``status``
of the user's object is ours, and only a real difference is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from smtp_operator.apply import Applier, counted
from smtp_operator.cluster.api import Cluster, Object
from smtp_operator.cluster.kinds import GATEWAY, KINDS
from smtp_operator.echoes import Echoes
from smtp_operator.errors import ClusterUnavailable, Conflict, NotFound, SpecInvalid
from smtp_operator.fleet import hashes
from smtp_operator.fleet.conditions import Reason
from smtp_operator.fleet.decision import (
    Change,
    Decision,
    Draft,
    Failure,
    State,
    decide,
    refused,
)
from smtp_operator.fleet.model import Facts, Gateway, Key
from smtp_operator.fleet.references import config_map_names, secret_names
from smtp_operator.fleet.spec import check_name, read_spec
from smtp_operator.observe import Observer, after_writing
from smtp_operator.recorder import Recorder, Severity
from smtp_operator.resources.rendering import draft, render
from smtp_operator.rollout import Pacing, Sight
from smtp_operator.telemetry import HALTS, Event, Log, Metrics
from smtp_operator.utils.clock import Clock

STATUS_MANAGER = "smtp-operator-status"


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more to do until an event, or the next resync. ``gone``: the object is."""

    gone: bool = False


@dataclass(frozen=True, slots=True)
class After:
    """Look again after so many seconds."""

    seconds: float


class Interests:
    """Which gateways read which Secret or ConfigMap: an event of one leads to them."""

    def __init__(self) -> None:
        self._readers: dict[tuple[str, str, str], set[Key]] = {}
        self._reads: dict[Key, frozenset[tuple[str, str, str]]] = {}

    def note(self, gateway: Gateway) -> None:
        """Replace what is known of one gateway."""
        key = gateway.key
        named = {("Secret", key.namespace, name) for name in secret_names(gateway)}
        named |= {("ConfigMap", key.namespace, name) for name in config_map_names(gateway)}
        self.forget(key)
        self._reads[key] = frozenset(named)
        for place in named:
            self._readers.setdefault(place, set()).add(key)

    def forget(self, key: Key) -> None:
        """The gateway is gone."""
        for place in self._reads.pop(key, frozenset()):
            readers = self._readers[place]
            readers.discard(key)
            if not readers:
                del self._readers[place]

    def readers(self, kind: str, namespace: str, name: str) -> frozenset[Key]:
        """Who reads it."""
        return frozenset(self._readers.get((kind, namespace, name), ()))


class Reconciler:
    """Brings one gateway at a time to what its spec says.

    Args:
        cluster: the API server.
        observer: reads.
        applier: writes children.
        recorder: writes Events.
        pacing: whose turn it is at an upgrade.
        interests: who reads which Secret.
        metrics: of gateways.
        clock: monotonic for pacing, UTC for statuses.
        wake: called with each fleet whose turn has come.
        echoes: holds back what the watch tells of a status being written.
        selects: whether a gateway with these labels is ours.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        observer: Observer,
        applier: Applier,
        recorder: Recorder,
        pacing: Pacing,
        interests: Interests,
        metrics: Metrics,
        clock: Clock,
        wake: Callable[[Key], None],
        echoes: Echoes,
        selects: Callable[[Mapping[str, str]], bool] = lambda _: True,
    ) -> None:
        self._cluster = cluster
        self._observer = observer
        self._applier = applier
        self._recorder = recorder
        self._pacing = pacing
        self._interests = interests
        self._metrics = metrics
        self._clock = clock
        self._wake = wake
        self._echoes = echoes
        self._selects = selects
        self._gateways: dict[Key, str] = {}  # state, for the gauge
        self._statuses: dict[Key, _Written] = {}
        self._written_versions: dict[Key, str] = {}

    async def reconcile(self, key: Key, log: Log) -> Done | After:
        """Look at one gateway.

        Raises:
            OperatorError: something that may go better next time; nothing is left half done that
                the next look would not finish.
        """
        try:
            return await self._look(key, log)
        except (ClusterUnavailable, Conflict, NotFound):
            raise
        except Exception:
            # What fails for good, or is a defect of ours, must not hold the others' rollouts.
            self._pacing.pass_over(key)
            raise

    async def _look(self, key: Key, log: Log) -> Done | After:
        live = await self._read(key)
        if live is None:
            return self._forget(key, log)
        try:
            gateway = _gateway(key, live)
        except SpecInvalid as invalid:
            return await self._refuse(key, live, invalid, log)
        self._interests.note(gateway)
        facts = await self._observer.observe(gateway, self._clock.utc())
        decision = self._decide(gateway, facts, draft(gateway, facts))
        if decision.proceed:
            decision = await self._write(gateway, facts, decision, log)
        await self._tell(live, gateway, decision, log)
        return self._next(decision)

    async def _write(
        self, gateway: Gateway, facts: Facts, decision: Decision, log: Log
    ) -> Decision:
        """Children; returns the decision again, with what the API server answered.

        So a new certificate, address or refusal stands in this look's status, not in the next's.
        """
        wanted = render(gateway, facts, decision)
        failures = await self._applier.try_template(gateway, wanted)
        if failures:
            return self._decide_refused(gateway, facts, decision, failures)
        written = await self._applier.apply(gateway, decision, wanted, log)
        gone = await self._applier.prune(gateway, decision, wanted, written.failures, log)
        if not (written.failures or written.live or gone):
            return decision
        facts = after_writing(facts, written.live, gone)
        if written.failures:
            return self._decide_refused(gateway, facts, decision, written.failures)
        return self._decide(gateway, facts, decision.draft)

    def _decide_refused(
        self, gateway: Gateway, facts: Facts, before: Decision, failures: Sequence[Failure]
    ) -> Decision:
        """The decision again.

        What runs goes on, so to the queue of rollouts it is as ready as it was: each try would look
        like readiness lost anew, and hold everybody.
        """
        word = self._pacing.word(gateway.key)
        decision = decide(gateway, facts, before.draft, word=word, failures=failures)
        was, sight = _sight(gateway, before, ()), _sight(gateway, decision, failures)
        sight = replace(sight, ready=was.ready, upgraded=was.upgraded)
        self._pacing.see(gateway.key, sight, self._clock.monotonic())
        return decision

    def _decide(self, gateway: Gateway, facts: Facts, proposal: Draft) -> Decision:
        """Ask whether it is this fleet's turn, which depends on what is decided without it."""
        key, now = gateway.key, self._clock.monotonic()
        answer = partial(decide, gateway, facts, proposal)
        word = self._pacing.word(key)
        decision = answer(word=word)
        self._pacing.see(key, _sight(gateway, decision, ()), now)
        if decision.rollout is State.WAITING:
            self._admit()
        heard = self._pacing.word(key)
        return decision if heard == word else answer(word=heard)

    def next_turns(self) -> None:
        """Wake the fleets whose turn has come, and those that are to tell why it does not come.

        Time alone can bring both.
        """
        self._admit()
        now = self._clock.monotonic()
        for key in self._pacing.judge(now):
            self._wake(key)
        halt = self._pacing.halt(now)
        for reason in HALTS:
            self._metrics.rollout_halted.labels(reason).set(reason == halt.name.capitalize())

    def _admit(self) -> None:
        for key in self._pacing.admit(self._clock.monotonic()):
            self._wake(key)

    def is_own_write(self, key: Key, resource_version: str) -> bool:
        """Whether an event only tells of the status that we wrote."""
        return self._written_versions.get(key) == resource_version

    async def _read(self, key: Key) -> Object | None:
        try:
            live = await self._cluster.get(GATEWAY, key.namespace, key.name)
        except NotFound:
            return None
        meta = live["metadata"]
        # While it is being deleted its children go with it, and must not be made anew.
        leaving = bool(meta.get("deletionTimestamp"))
        return None if leaving or not self._selects(meta.get("labels") or {}) else live

    def _forget(self, key: Key, log: Log) -> Done:
        self._interests.forget(key)
        self._observer.forget(key)
        self._pacing.forget(key)
        self._statuses.pop(key, None)
        self._metrics.forget(key.namespace, key.name)
        self._count(key, "")
        self._written_versions.pop(key, None)
        log.info(Event.GATEWAY_GONE)
        return Done(gone=True)

    async def _refuse(self, key: Key, live: Object, invalid: SpecInvalid, log: Log) -> Done:
        """What runs goes on; only the status says why the new spec does not count."""
        self._pacing.forget(key)
        status = refused(
            live.get("status") or {},
            generation=live["metadata"]["generation"],
            now=self._clock.utc(),
            detail=invalid.detail,
        )
        self._count(key, "not_ready")
        await self._write_status(key, live, status, log)
        return Done()

    async def _tell(self, live: Object, gateway: Gateway, decision: Decision, log: Log) -> None:
        """Metrics, status, Events."""
        key, status = gateway.key, decision.status
        ready = _is(status, "Ready")
        state = "paused" if gateway.spec.paused else "ready" if ready else "not_ready"
        self._count(key, state)
        self._metrics.paused.labels(*key).set(gateway.spec.paused)
        for name in State:
            self._metrics.rollout_state.labels(*key, str(name)).set(name is decision.rollout)
        ends = (status.get("tls") or {}).get("notAfter")
        self._metrics.certificate_ends(
            *key, datetime.fromisoformat(ends).timestamp() if ends else None
        )
        await self._write_status(key, live, status, log)

    async def _write_status(
        self, key: Key, live: Object, status: Mapping[str, Any], log: Log
    ) -> None:
        before = live.get("status") or {}
        if same(before, status) or self._statuses.get(key) == _Written.of(before, status):
            return
        meta = live["metadata"]
        body = {
            "apiVersion": KINDS[GATEWAY].api_version,
            "kind": GATEWAY,
            "metadata": {"namespace": key.namespace, "name": key.name, "uid": meta["uid"]},
            "status": dict(status),
        }
        with self._echoes.writing((GATEWAY, *key)):
            with counted(GATEWAY, self._metrics, self._clock):
                answer = await self._cluster.apply_status(body, manager=STATUS_MANAGER)
            self._written_versions[key] = answer["metadata"]["resourceVersion"]
        # Fields of the status that somebody else owns stay; they must not make us write for ever.
        self._statuses[key] = _Written.of(answer.get("status") or {}, status)
        log.info(Event.STATUS_WRITTEN)
        for severity, reason, note in news(before, status):
            await self._recorder.record(live, severity, reason, note)

    def _count(self, key: Key, state: str) -> None:
        before = self._gateways.pop(key, "")
        if before:
            self._metrics.gateways.labels(before).dec()
        if state:
            self._gateways[key] = state
            self._metrics.gateways.labels(state).inc()

    def _next(self, decision: Decision) -> Done | After:
        seconds = [decision.requeue_seconds] if decision.requeue_seconds is not None else []
        seconds += [RETRIED[c.reason] for c in decision.conditions if c.reason in RETRIED]
        return After(min(seconds)) if seconds else Done()


# Refused by something outside the spec, perhaps: a quota or a policy may change without a word to
# us; and a predecessor's Secrets go soon after it, which nobody tells where they are not watched.
RETRIED: Mapping[Reason, float] = {
    Reason.APPLY_FAILED: 60.0,
    Reason.POD_TEMPLATE_REJECTED: 60.0,
    Reason.NAME_CONFLICT: 10.0,
}


@dataclass(frozen=True, slots=True)
class _Written:
    """What a status became, and what was asked for, as digests."""

    found: str
    asked: str

    @classmethod
    def of(cls, found: Mapping[str, Any], asked: Mapping[str, Any]) -> _Written:
        return cls(hashes.digest(timeless(found)), hashes.digest(timeless(asked)))


def _gateway(key: Key, live: Object) -> Gateway:
    """The user's object, read and defaulted.

    Raises:
        SpecInvalid: it was stored under an older schema, and cannot be read.
    """
    check_name(key.name)
    meta = live["metadata"]
    return Gateway(
        key=key,
        uid=meta["uid"],
        generation=meta["generation"],
        spec=read_spec(live.get("spec") or {}),
        annotations=meta.get("annotations") or {},
        status=live.get("status") or {},
    )


def _sight(gateway: Gateway, decision: Decision, failures: Sequence[Failure]) -> Sight:
    # Who holds upgrades back lets them through by his own word, and answers for them.
    paced = gateway.spec.rollout.on_operator_upgrade != "Hold"
    return Sight(
        wave=gateway.spec.rollout.wave,
        waiting=decision.rollout is State.WAITING and decision.proceed,
        current=decision.change is Change.NONE,
        edited=decision.change in {Change.USER, Change.FIRST},
        rolling=decision.rollout is State.PROGRESSING and decision.proceed,
        refused=bool(failures) and decision.change is not Change.NONE and not decision.hold,
        upgraded=decision.upgraded and paced,
        failed=decision.rollout is State.FAILED,
        ready=_is(decision.status, "Ready"),
    )


def _conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {item["type"]: item for item in status.get("conditions") or ()}


def _is(status: Mapping[str, Any], kind: str) -> bool:
    return _conditions(status).get(kind, {}).get("status") == "True"


TIMES = frozenset({"lastTransitionTime", "startedAt"})


def timeless(value: Any) -> Any:
    """A status without the times at which things were noticed."""
    if isinstance(value, Mapping):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, (list, tuple)):
        return [timeless(item) for item in value]
    return value


def same(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two statuses say the same."""
    return bool(timeless(before) == timeless(after))


# Of which condition, with which status, a warning is told; everything else is said calmly.
WARNED = frozenset({
    ("ConfigAccepted", "False"), ("CredentialsReady", "False"), ("TLSReady", "False"),
    ("Degraded", "True"),
})  # fmt: skip
TOLD = ("ConfigAccepted", "CredentialsReady", "TLSReady", "Progressing", "Degraded", "Ready")


def news(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[Severity, str, str]]:
    """What is worth an Event: a condition whose status or reason changed.

    What is well from the beginning is not told, nor that a certificate is not there yet. Warnings
    are told each; of all that is calm the last, which sums up: ready again says that nothing is
    degraded any more.
    """
    calm: tuple[Severity, str, str] | None = None
    old, new = _conditions(before), _conditions(after)
    for kind in TOLD:
        is_now, was = new.get(kind), old.get(kind)
        if is_now is None or (was is not None and _word(was) == _word(is_now)):
            continue
        pending = is_now["reason"] == str(Reason.PENDING)
        warned = (kind, is_now["status"]) in WARNED and not pending
        if was is None and not warned and kind != "Progressing":
            continue
        note = f"{kind} is {is_now['status']}: {is_now['message']}"
        if warned:
            yield Severity.WARNING, is_now["reason"], note
        else:
            calm = Severity.NORMAL, is_now["reason"], note
    if calm is not None:
        yield calm


def _word(condition: Mapping[str, Any]) -> tuple[str, str]:
    return condition["status"], condition["reason"]
