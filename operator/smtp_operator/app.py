"""Composition root: build, start, lead or stand by, stop.

    kopf, watches ----> Switchboard ----> queue ----> workers, only while leading ----> Reconciler
    Lease ------------> Elector --------> lead, or end the process

Both replicas watch; the one that holds the Lease writes. A process that lost the Lease ends: the
platform starts it anew, and no state of a former leader is left to mislead it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from smtp_operator import __version__, events
from smtp_operator.apply import Applier
from smtp_operator.cluster.children import Children
from smtp_operator.cluster.client import ApiCluster, selector
from smtp_operator.cluster.connection import Connection, load_configuration
from smtp_operator.cluster.kinds import CHILD_KINDS, GATEWAY, OPTIONAL_KINDS
from smtp_operator.cluster.leases import LeaseObject
from smtp_operator.cluster.watches import Watch
from smtp_operator.echoes import Echoes
from smtp_operator.elector import Elector
from smtp_operator.errors import ConfigurationError, OperatorError
from smtp_operator.fleet.model import Key
from smtp_operator.fleet.names import CHILDREN
from smtp_operator.observe import Observer
from smtp_operator.probes import Probes
from smtp_operator.reconcile import Interests, Reconciler
from smtp_operator.recorder import Recorder
from smtp_operator.rollout import Pacing
from smtp_operator.settings import Settings, from_environment
from smtp_operator.switchboard import Switchboard
from smtp_operator.telemetry import Event, Log, Metrics, build_log
from smtp_operator.utils.clock import Clock, SystemClock
from smtp_operator.utils.tasks import TaskOwner
from smtp_operator.workers import Workers
from smtp_operator.workqueue import Priority, TokenBucket, WorkQueue

T = TypeVar("T")

HEARTBEAT_SECONDS = 1.0
TURNS_SECONDS = 5.0
STALE_SECONDS = 300.0
CRD_SECONDS = 5.0
DISCOVERY_SECONDS = 30.0
KOPF_SECONDS = 3.0


class Operator:
    """The whole program, built but not started.

    Args:
        settings: of ``settings.py``.
        connection: to the API server.
        clock: of everything.
        log: of everything.
    """

    def __init__(self, settings: Settings, connection: Connection, clock: Clock, log: Log) -> None:
        self._settings, self._connection = settings, connection
        self._clock, self._log = clock, log
        self.metrics = Metrics(CollectorRegistry())
        self.metrics.build_info.labels(__version__, settings.gateway_image).set(1)
        self._owner, self._kopf = TaskOwner(self._task_failed), TaskOwner(self._task_failed)
        self._stop, self._kopf_stop = asyncio.Event(), asyncio.Event()
        self._exit_code = 0
        self._beat_at = clock.monotonic()
        self._served = False
        self._watches: list[Watch] = []
        self._feed_watches: list[events.FeedWatch] = []
        self._build_core()
        self._probes = Probes(self, self.metrics.registry, settings.http_host, settings.http_port)

    def _build_core(self) -> None:
        s, clock, log, metrics = self._settings, self._clock, self._log, self.metrics
        bucket = TokenBucket(
            clock, rate=s.operator_requests_per_second, burst=s.operator_requests_burst
        )
        self._elector = Elector(
            LeaseObject(self._connection, s.pod_namespace, s.lease_name),
            f"{s.pod_name}_{uuid.uuid4()}",
            clock,
            log,
            on_leading=self._lead,
            on_lost=self._lost,
        )
        self._cluster = ApiCluster(
            self._connection, throttle=bucket.take, may_write=lambda: self._elector.leading
        )
        children, interests, echoes = Children(), Interests(), Echoes()
        self._queue: WorkQueue[Key] = WorkQueue(clock, metrics)
        self._observer = Observer(
            self._cluster,
            children,
            default_image=s.gateway_image,
            secrets_watched=s.secrets_watched,
        )
        self._pacing = Pacing(
            budget_percent=s.rollout_budget_percent,
            soak_seconds=s.rollout_soak_seconds,
            hold=s.rollout_hold,
        )
        self._reconciler = Reconciler(
            self._cluster,
            observer=self._observer,
            applier=Applier(self._cluster, children, self._observer, metrics, clock, echoes),
            recorder=Recorder(self._cluster, s.pod_name, metrics, clock, log),
            pacing=self._pacing,
            interests=interests,
            metrics=metrics,
            clock=clock,
            wake=lambda key: self._queue.add(key, Priority.ROUTINE),
            echoes=echoes,
            selects=s.selects,
        )
        self._switchboard = Switchboard(
            self._queue, children, interests, clock, self._reconciler.is_own_write, echoes
        )
        self._workers = Workers(
            self._queue,
            self._reconciler,
            self._owner,
            metrics,
            clock,
            log,
            number=s.operator_workers,
            look_again_seconds=s.look_again_seconds,
            on_gone=self._switchboard.forget,
        )

    async def run(self) -> int:
        """Serve until told to stop, or until the Lease is lost; returns the exit code."""
        self._log.info(Event.STARTED, version=__version__, settings=self._settings.lines())
        await self._probes.start()
        self._take_signals()
        self._owner.launch(self._heartbeat(), name="heartbeat")
        self._owner.launch(self._begin(), name="start")
        await self._stop.wait()
        await self._end()
        return self._exit_code

    def stop(self) -> None:
        """Let ``run`` end."""
        self._stop.set()

    async def _begin(self) -> None:
        """Wait for our CRD, then watch, then take part in the election."""
        await self._await_crd()
        self._observer.optional_kinds = await self._ask(self._cluster.optional_kinds)
        namespaces = self._settings.watch_namespaces or ("",)
        self._feed_watches += [events.FeedWatch(one, self._clock) for one in namespaces]
        always = [kind for kind in CHILD_KINDS if kind not in OPTIONAL_KINDS]
        self._start_watches([*always, *sorted(self._observer.optional_kinds)])
        version = await self._ask(self._cluster.version)
        registry = events.handlers(
            self._switchboard,
            self._connection.access,
            on_startup=lambda target: events.configure(
                target, self._settings, version, self._connection.patience.silence
            ),
            watches=self._feed_watches,
        )
        feed = events.feed(registry, self._settings, self._kopf_stop, self._take_signals, self._log)
        self._kopf.launch(feed, name="kopf")
        self._owner.launch(self._elector.run(), name="election")
        self._owner.launch(self._turns(), name="turns")
        self._owner.launch(self._discover(), name="discovery")

    async def _await_crd(self) -> None:
        while True:
            self._served = await self._ask(lambda: self._cluster.serves(GATEWAY))
            if self._served:
                return
            await asyncio.sleep(CRD_SECONDS)

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """The answer, however long the API server takes to come up."""
        while True:
            try:
                return await question()
            except OperatorError as error:
                self._log.warning(Event.CLUSTER_SILENT, detail=error.detail)
                await asyncio.sleep(CRD_SECONDS)

    def _start_watches(self, kinds: Iterable[str]) -> None:
        for namespace in self._settings.watch_namespaces or ("",):
            for kind in kinds:
                self._watch(kind, namespace)

    async def _discover(self) -> None:
        """Notice that cert-manager or the Prometheus operator came after us, or went.

        A kind that went keeps its watch, which waits for it to come back.
        """
        watched = self._observer.optional_kinds
        while True:
            await asyncio.sleep(DISCOVERY_SECONDS)
            kinds = await self._ask(self._cluster.optional_kinds)
            self._start_watches(sorted(kinds - watched))
            watched |= kinds
            if kinds != self._observer.optional_kinds:
                self._observer.optional_kinds = kinds
                self._switchboard.look_at_all()

    def _watch(self, kind: str, namespace: str) -> None:
        """Secrets and ConfigMaps that users made carry no label of ours: all are watched."""
        everything = kind in {"Secret", "ConfigMap"} and self._settings.secrets_watched
        if kind == "Secret" and not everything:
            return
        watch = Watch(
            self._connection,
            kind,
            namespace,
            "" if everything else selector(CHILDREN),
            listener=self._switchboard,
            clock=self._clock,
            log=self._log,
        )
        self._watches.append(watch)
        self._owner.launch(watch.run(), name=f"watch {kind}")

    def _lead(self) -> None:
        self._owner.launch(self._lead_when_synced(), name="begin to lead")

    async def _lead_when_synced(self) -> None:
        """Begin once everything that exists is known.

        An optional kind is asked for only once: a role that lacks it, or an answer that does not
        come, must not leave a leader that does nothing. Its children are met by their names.
        """
        for watch in self._watches:
            await (watch.tried if watch.kind in OPTIONAL_KINDS else watch.synced).wait()
        if unlisted := _unlisted(self._watches):
            self._log.warning(Event.NOT_LISTED, kinds=unlisted)
        self._pacing.expect(await self._all_gateways())
        self._switchboard.lead()
        self._workers.start()

    async def _all_gateways(self) -> list[Key]:
        found: list[Key] = []
        for namespace in self._settings.watch_namespaces or ("",):
            ask = partial(self._cluster.list_metadata, GATEWAY, namespace, labels={})
            listed = await self._ask(ask)
            metas = [item["metadata"] for item in listed]
            found += [
                Key(m["namespace"], m["name"])
                for m in metas
                if self._settings.selects(m.get("labels") or {})
            ]
        return found

    def _lost(self) -> None:
        self._exit_code = 1
        self.stop()

    async def _end(self) -> None:
        """Finish what runs, let the Lease go at once, then take time for the rest."""
        self._log.info(Event.STOPPING)
        self._switchboard.stop()
        cut = await self._workers.stop(self._settings.operator_stop_seconds)
        await self._elector.release()
        await self._owner.cancel()
        self._kopf_stop.set()
        await self._kopf.settle(KOPF_SECONDS)
        await self._probes.stop()
        await self._connection.close()
        self._log.info(Event.STOPPED, cut=cut)

    async def _turns(self) -> None:
        while True:
            await asyncio.sleep(TURNS_SECONDS)
            if self._elector.leading:
                self._reconciler.next_turns()

    async def _heartbeat(self) -> None:
        while True:
            asked_at = self._clock.monotonic()
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self._beat_at = self._clock.monotonic()
            self.metrics.loop_lag.set(max(0.0, self._beat_at - asked_at - HEARTBEAT_SECONDS))
            self.metrics.leader.set(self._elector.leading)
            self.metrics.key_oldest.set(self._queue.oldest_seconds())
            for kind, age in self._ages().items():
                self.metrics.watch_age.labels(kind).set(age)

    def _ages(self) -> dict[str, float]:
        """Of each kind the oldest watch; kinds that the cluster does not serve are left out."""
        ages: dict[str, float] = {}
        watches: list[Watch | events.FeedWatch] = [*self._watches, *self._feed_watches]
        for watch in watches:
            if watch.served:
                ages[watch.kind] = max(ages.get(watch.kind, 0.0), watch.age_seconds())
        return ages

    def _take_signals(self) -> None:
        """Ours after kopf has installed its own: the Lease is let go before anything else."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    def _task_failed(self, name: str, failure: BaseException) -> None:
        """A part that should run for ever has ended: the platform starts us anew."""
        self._log.error(Event.TASK_FAILED, task=name, exc_info=failure)
        self._exit_code = 1
        self.stop()

    def deadly(self) -> list[str]:
        """See ``Health``."""
        found = []
        if self._clock.monotonic() - self._beat_at > STALE_SECONDS / 10:
            found.append("the heartbeat is old")
        return [*found, *silent(self._ages())]

    def faults(self) -> list[str]:
        """See ``Health``."""
        if not self._served:
            return ["the cluster does not serve SmtpGateway; install the CRDs"]
        needed = [watch for watch in self._watches if watch.kind not in OPTIONAL_KINDS]
        unlisted = _unlisted([*needed, *self._feed_watches])
        return [f"not listed yet: {', '.join(unlisted)}"] if unlisted else []

    def details(self) -> dict[str, Any]:
        """See ``Health``."""
        return {
            "leading": self._elector.leading,
            "notListed": _unlisted(self._watches),
            "gateways": len(self._switchboard.known()),
            "rolloutsWaiting": self._pacing.waiting(),
            "rolloutsHaltedBy": str(self._pacing.halt(self._clock.monotonic())),
        }


def silent(ages: Mapping[str, float]) -> list[str]:
    """Of the watches' ages, what only another process may mend."""
    found = []
    if ages and min(ages.values()) > STALE_SECONDS:
        found.append("every watch is old")
    if ages.get(GATEWAY, 0.0) > STALE_SECONDS:
        found.append(f"the watch of {GATEWAY} is old")
    return found


def _unlisted(watches: Iterable[Watch | events.FeedWatch]) -> list[str]:
    return sorted({watch.kind for watch in watches if not watch.synced.is_set()})


async def _run(settings: Settings, log: Log) -> int:
    connection = Connection(await load_configuration())
    return await Operator(settings, connection, SystemClock(), log).run()


def main() -> int:
    """Read the settings, run, return the exit code."""
    try:
        settings, notes = from_environment()
        log = build_log(settings.log_level, settings.log_format)
        for note in notes:
            log.warning(Event.SETTINGS_NOTED, note=note)
        return asyncio.run(_run(settings, log))
    except ConfigurationError as error:
        sys.stderr.write("\n".join(error.problems) + "\n")
        return 2
