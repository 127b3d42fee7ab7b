"""kopf, as a source of events and nothing else: the only importer of it.

Only ``on.event`` is used, so kopf stores nothing on users' objects: no annotation, no finalizer.
Handlers only enqueue; they cannot fail. No daemon, no timer, no index, no peering, no Event.

kopf gives up where a watch could go on: at half a line, at an error in a stream, at a list that ran
out between two chunks, at a refused credential that is the only one. Then it is begun anew, which
costs a list; only when that does not help for a minute does the process end.

It tells nobody whether its watches live, and passes no bookmarks on. So it gets a session of ours,
which sees each answer begin: what ``FeedWatch`` knows comes from that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import aiohttp
import kopf

from smtp_operator.cluster.connection import Access
from smtp_operator.cluster.kinds import GATEWAY, KINDS
from smtp_operator.settings import Settings
from smtp_operator.telemetry import Event, Log
from smtp_operator.utils.clock import Clock

CREDENTIAL_SECONDS = 600  # the kubelet renews a token long before it runs out
LOGIN_SECONDS = 1.0  # between two logins
RESTARTS_SECONDS = (0.2, 1.0, 3.0, 8.0, 20.0, 30.0)  # waited before each, then it is given up
SOUND_SECONDS = 60.0  # who lived so long had no part in earlier failures
STREAMING_LISTS_SINCE = (1, 34)
FINALIZER = "smtp.cakemail.com/unused"
OK = 200


class Sink(Protocol):
    """Who hears of SmtpGateways; it must not raise."""

    def gateway_seen(self, metadata: Mapping[str, Any], *, listed: bool) -> None:
        """It is there; ``listed``: since before we looked, so nobody waits for it."""
        ...

    def gateway_deleted(self, metadata: Mapping[str, Any]) -> None:
        """It is gone, or no longer selected."""
        ...


def configure(
    target: kopf.OperatorSettings,
    settings: Settings,
    version: tuple[int, int],
    silence_seconds: float,
) -> None:
    """All that is set in kopf, and why.

    Args:
        target: kopf's settings.
        settings: ours.
        version: of the API server.
        silence_seconds: after which a stream counts as dead.
    """
    # The Lease decides who writes; peering is priority by wall clock, without fencing.
    target.peering.standalone = True
    # Events are our recorder's: kopf makes one request for each, and counts nothing.
    target.posting.enabled = False
    target.posting.loggers = False
    # Nothing of ours makes kopf set it; should that ever change, it is to be told whose it is.
    target.persistence.finalizer = FINALIZER
    # Kinds and namespaces are fixed: no right to list CRDs or namespaces is needed.
    target.scanning.disabled = True
    # The server ends each stream; the next one's beginning is how we know that the watch lives.
    target.watching.server_timeout = 120
    # Just above it: only a server that does not end it is cut off by us.
    target.watching.client_timeout = 150
    # The default is none: a silent drop would hang for minutes.
    target.watching.connect_timeout = 10
    # Bookmarks come each 60 s; a stream silent for longer is dead.
    target.watching.inactivity_timeout = silence_seconds
    # A list of thousands in one piece is a spike of memory here and there.
    target.watching.chunk_size = 500
    # The server streams the first list from its cache, where it can.
    target.watching.initial_streaming = version >= STREAMING_LISTS_SINCE
    if settings.watch_selector:
        # A canary operator, or a shard: the server sends only what is ours.
        target.watching.label_selectors[_resource()] = settings.watch_selector
    # The default is five minutes for a request.
    target.networking.request_timeout = 30
    target.networking.connect_timeout = 5
    # Growing, uneven delays: replicas that lost the server together do not come back together.
    target.networking.error_backoffs = (0.3, 0.7, 1.9, 4.1, 7.3, 13.7, 27.1)
    # 429 with Retry-After is an order.
    target.networking.enforce_retry_after = True
    # A handler that failed has only failed to enqueue.
    target.execution.default_backoff = 1
    # A limit below the number of objects would leave some of them without a worker.
    target.queueing.worker_limit = None
    # Once it gives up kopf would kill the whole process so much later, though it was begun anew.
    target.process.ultimate_exiting_timeout = None


class FeedWatch:
    """kopf's watch of SmtpGateways in one namespace, as far as its answers tell.

    Args:
        namespace: "" for all.
        clock: for the age.

    Attributes:
        synced: a stream has been answered: what there is has been listed, or begins it.
    """

    kind = GATEWAY
    served = True

    def __init__(self, namespace: str, clock: Clock) -> None:
        self._path = KINDS[GATEWAY].path(namespace)
        self._clock = clock
        self._heard_at = clock.monotonic()
        self.synced = asyncio.Event()

    def age_seconds(self) -> float:
        """How long ago an answer began."""
        return self._clock.monotonic() - self._heard_at

    def answered(self, path: str, *, stream: bool) -> None:
        """The API server has begun to answer a request of kopf's."""
        if path.endswith(self._path):
            self._heard_at = self._clock.monotonic()
            if stream:
                self.synced.set()


def handlers(
    sink: Sink,
    access: Callable[[], Awaitable[Access]],
    *,
    on_startup: Callable[[kopf.OperatorSettings], None],
    watches: Sequence[FeedWatch] = (),
) -> kopf.OperatorRegistry:
    """The three handlers; ``watches`` hear what kopf's requests are answered."""
    registry = kopf.OperatorRegistry()
    gateway = KINDS[GATEWAY]
    session: aiohttp.ClientSession | None = None

    @kopf.on.startup(registry=registry)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        on_startup(settings)

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        nonlocal session
        if session is not None:
            await session.close()  # kopf has, unless it was broken off
            # kopf asks as fast as it is refused.
            await asyncio.sleep(LOGIN_SECONDS)
        info = connection_info(await access(), datetime.now(UTC))
        session = _session(info, watches)
        return kopf.AiohttpSession(
            server=info.server, expiration=info.expiration, aiohttp_session=session
        )

    @kopf.on.event(gateway.group, gateway.version, gateway.plural, registry=registry)
    async def event(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002  # kopf's
        if type == "DELETED":
            sink.gateway_deleted(body["metadata"])
        else:
            sink.gateway_seen(body["metadata"], listed=type is None)

    return registry


def connection_info(access: Access, now: datetime) -> kopf.ConnectionInfo:
    """Our credentials in kopf's form; its own login looks for another library.

    Each runs out, a client certificate too. kopf never again takes one that was refused once, not
    even when the API server was wrong; a new time of expiry makes it another one.
    """
    return kopf.ConnectionInfo(
        server=access.server,
        ca_path=access.ca_path,
        insecure=not access.verify,
        token=access.token,
        certificate_path=access.certificate_path,
        private_key_path=access.key_path,
        expiration=now + timedelta(seconds=CREDENTIAL_SECONDS),
    )


def _session(info: kopf.ConnectionInfo, watches: Sequence[FeedWatch]) -> aiohttp.ClientSession:
    """As kopf makes it of that, and heard by the watches."""
    trace = aiohttp.TraceConfig()

    async def answered(_: Any, __: Any, told: aiohttp.TraceRequestEndParams) -> None:
        if told.response.status == OK:
            for watch in watches:
                watch.answered(told.url.path, stream="watch" in told.url.query)

    trace.on_request_end.append(answered)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        trace_configs=[trace],
    )


async def feed(
    registry: kopf.OperatorRegistry,
    settings: Settings,
    stop: asyncio.Event,
    on_spawned: Callable[[], None],
    log: Log,
    *,
    restarts_seconds: Sequence[float] = RESTARTS_SECONDS,
) -> None:
    """Run kopf until ``stop``; raises what ends it again and again.

    Args:
        registry: of ``handlers``.
        settings: ours.
        stop: ends it.
        on_spawned: called once kopf has installed its handlers of signals, to take them back.
        log: where its ends are told.
        restarts_seconds: how long to wait before each new beginning.
    """
    now = asyncio.get_running_loop().time
    left = iter(restarts_seconds)
    while True:
        began = now()
        try:
            await _run(registry, settings, stop, on_spawned)
        except Exception as failure:  # whatever kopf may end with; it is told, or raised at last
            if now() - began > SOUND_SECONDS:
                left = iter(restarts_seconds)
            pause = next(left, None)
            if pause is None:
                raise
            log.warning(Event.FEED_ENDED, seconds=pause, exc_info=failure)
        else:
            return
        await asyncio.sleep(pause)


async def _run(
    registry: kopf.OperatorRegistry,
    settings: Settings,
    stop: asyncio.Event,
    on_spawned: Callable[[], None],
) -> None:
    """One life of kopf. Its own ``run_tasks`` would end all tasks of the loop, ours included."""
    tasks = await kopf.spawn_tasks(
        registry=registry,
        clusterwide=settings.clusterwide,
        namespaces=list(settings.watch_namespaces),
        stop_flag=stop,
        # Else kopf asks the system for the user's name, and a container's user has none.
        identity=settings.pod_name,  # type: ignore[arg-type]  # a str; its type is not exported
    )
    on_spawned()
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
    if not stop.is_set():
        raise RuntimeError("kopf has ended")


def _resource() -> tuple[str, str, str]:
    gateway = KINDS[GATEWAY]
    return (gateway.group, gateway.version, gateway.plural)
