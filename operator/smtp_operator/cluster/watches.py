"""Watches of metadata: a list, then what changes, then a list again when the thread is lost.

A watch only says *look at this*. Bookmarks come each minute; silence of 70 s ends the stream
(``connection.Patience``). After 410 everything is listed anew, and what the list no
longer shows is told as gone: nobody else reports a deletion in that gap.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn, Protocol

from smtp_operator.cluster.client import CHUNK, METADATA, METADATA_LIST
from smtp_operator.cluster.connection import Connection
from smtp_operator.cluster.kinds import KINDS
from smtp_operator.errors import ClusterUnavailable, NotFound, OperatorError
from smtp_operator.telemetry import Event, Log
from smtp_operator.utils.clock import Clock

SERVER_SECONDS = "300"
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 30.0
CONTENT_SECONDS = 5.0  # a stream that lived so long was sound


class Listener(Protocol):
    """Who hears of changes; it must not raise."""

    def changed(self, kind: str, metadata: dict[str, Any]) -> None:
        """An object is there, or is different."""
        ...

    def vanished(self, kind: str, metadata: dict[str, Any]) -> None:
        """An object is gone."""
        ...

    def listed(self, kind: str, namespace: str, metadata: list[dict[str, Any]]) -> None:
        """All that is there now; what is not among it is gone."""
        ...


class _Expired(Exception):
    """The resourceVersion is too old: list anew."""


class Watch:
    """One kind in one namespace, or in all.

    Attributes:
        synced: everything that exists has been listed.
        tried: so it was, or the first attempt failed.

    Args:
        connection: to the API server.
        kind: of ``cluster/kinds.py``.
        namespace: "" for all.
        labels: label selector, "" for all.
        listener: who hears.
        clock: for the age.
        log: where ends of streams are told.
    """

    def __init__(
        self,
        connection: Connection,
        kind: str,
        namespace: str,
        labels: str,
        *,
        listener: Listener,
        clock: Clock,
        log: Log,
    ) -> None:
        self.kind, self.namespace = kind, namespace
        self._connection = connection
        self._path = KINDS[kind].path(namespace)
        self._labels = labels
        self._listener = listener
        self._clock = clock
        self._log = log.bind(kind=kind, namespace=namespace)
        self._heard_at = clock.monotonic()
        self._version = ""
        self.synced, self.tried = asyncio.Event(), asyncio.Event()
        self.served = True

    def age_seconds(self) -> float:
        """How long ago anything was heard."""
        return self._clock.monotonic() - self._heard_at

    async def run(self) -> NoReturn:
        """List and watch for ever; the owner cancels it."""
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            began, asked = self._clock.monotonic(), 0.0
            try:
                if not self._version:
                    await self._list()
                await self._follow()
                backoff = FIRST_BACKOFF_SECONDS
                continue
            except _Expired:
                self._version = ""
            except NotFound as error:
                # The kind's CRD went away, or has not come yet.
                self.served, self._version = False, ""
                self._log.debug(Event.WATCH_ENDED, detail=error.detail)
            except ClusterUnavailable as error:
                asked = error.retry_after_seconds or 0.0
                self._log.info(Event.WATCH_ENDED, detail=error.detail)
            except OperatorError as error:
                self._log.info(Event.WATCH_ENDED, detail=error.detail)
            self.tried.set()
            if self._clock.monotonic() - began > CONTENT_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            await asyncio.sleep(max(backoff, asked))
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)

    async def _list(self) -> None:
        found: list[dict[str, Any]] = []
        query = {"limit": CHUNK} | ({"labelSelector": self._labels} if self._labels else {})
        while True:
            page = await self._connection.call("GET", self._path, query=query, accept=METADATA_LIST)
            self._hear()
            found += page.get("items") or []
            meta = page.get("metadata") or {}
            if not meta.get("resourceVersion"):
                raise ClusterUnavailable("a list has no version")
            if not meta.get("continue"):
                break
            query["continue"] = meta["continue"]
        self._version = meta["resourceVersion"]
        self._listener.listed(self.kind, self.namespace, found)
        self.served = True
        self.synced.set()
        self.tried.set()
        self._log.debug(Event.LISTED_ANEW, objects=len(found))

    async def _follow(self) -> None:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": SERVER_SECONDS,
            "resourceVersion": self._version,
        }
        if self._labels:
            query["labelSelector"] = self._labels
        try:
            async with self._connection.stream(self._path, query, accept=METADATA) as lines:
                self._hear()
                async for line in lines:
                    self._hear()
                    self._take(_event(line))
        except ClusterUnavailable as error:
            if error.expired:
                raise _Expired from error
            raise

    def _take(self, event: dict[str, Any]) -> None:
        told, what = event.get("type"), event["object"]
        if told == "ERROR":
            if what.get("code") == 410:  # noqa: PLR2004  # HTTP Gone: the version is too old
                raise _Expired
            raise ClusterUnavailable(str(what.get("message"))[:200])
        version = (what.get("metadata") or {}).get("resourceVersion")
        if not version:
            raise ClusterUnavailable("an event has no version")
        self._version = version
        if told == "DELETED":
            self._listener.vanished(self.kind, what)
        elif told != "BOOKMARK":
            self._listener.changed(self.kind, what)

    def _hear(self) -> None:
        self._heard_at = self._clock.monotonic()


def _event(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError as error:
        raise ClusterUnavailable("a line of a watch is no JSON") from error
    if not isinstance(told, dict) or not isinstance(told.get("object"), dict):
        raise ClusterUnavailable("a line of a watch is no event")
    return told
