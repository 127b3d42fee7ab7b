"""An API server with next to nothing in it: enough for a whole operator to start, and to lead.

What is listed and watched is empty, but for one SmtpGateway that is gone as soon as somebody asks
for it: to find that out is all that a leader has to do here.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from aiohttp import web

from smtp_operator.cluster.kinds import GATEWAY, KINDS

LEAVING = {"metadata": {"name": "alpha", "namespace": "mail", "uid": "1", "resourceVersion": "5"}}


class EmptyApi:
    """Answers whatever the operator asks.

    Attributes:
        refused: plurals of kinds that the role does not let it read.
    """

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self._versions = itertools.count(10)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        path = request.path
        if path in DISCOVERY:
            return web.json_response(DISCOVERY[path])
        if path.rpartition("/")[2] in self.refused:
            return _failure(403, "Forbidden")
        if request.method in {"POST", "PUT"}:
            return await self._stored(request)
        if "watch" in request.query:
            return await _silence(request)
        if path not in LISTS:
            return _failure(404, "NotFound")
        items = [LEAVING] if path == KINDS[GATEWAY].path("mail") else []
        version = {"resourceVersion": str(next(self._versions))}
        return web.json_response({"metadata": version, "items": items})

    async def _stored(self, request: web.Request) -> web.Response:
        body = await request.json()
        body["metadata"]["resourceVersion"] = str(next(self._versions))
        return web.json_response(body)


async def _silence(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await asyncio.Event().wait()
    return response


def _failure(code: int, reason: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {}}
    return web.json_response(status | {"code": code, "reason": reason}, status=code)


def _resources(root: str) -> dict[str, Any]:
    found = [
        {
            "name": kind.plural, "singularName": kind.kind.lower(), "kind": kind.kind,
            "namespaced": True, "verbs": ["list", "watch", "get"],
        }
        for kind in KINDS.values()
        if kind.root == root
    ]  # fmt: skip
    if root == "/api/v1":  # kopf waits until it knows these, though it is told to use none of them
        found.append({
            "name": "namespaces", "singularName": "namespace", "kind": "Namespace",
            "namespaced": False, "verbs": ["list", "watch"],
        })  # fmt: skip
    return {"resources": found}


def _groups() -> list[dict[str, Any]]:
    kind = KINDS[GATEWAY]
    version = {"groupVersion": kind.api_version, "version": kind.version}
    return [{"name": kind.group, "versions": [version], "preferredVersion": version}]


LISTS = {kind.path("mail") for kind in KINDS.values()}
DISCOVERY: dict[str, Any] = {
    "/version": {"major": "1", "minor": "33"},
    "/api": {"versions": ["v1"]},
    "/apis": {"groups": _groups()},
    **{kind.root: _resources(kind.root) for kind in KINDS.values()},
}
