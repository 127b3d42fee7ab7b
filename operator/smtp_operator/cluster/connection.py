"""One connection pool to the API server: raw JSON over the official library's transport.

The library brings addresses, certificates, token renewal and the pool; its models, its discovery
and its retries are not used. Every request has a time-out; a stream has one for silence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client import ApiClient, Configuration

from smtp_operator import __version__
from smtp_operator.cluster.answers import failure
from smtp_operator.errors import ClusterUnavailable, ConfigurationError

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
WRITE_SECONDS = 5.0  # a standby takes over 5 s after a holder's last request began; see elector
INACTIVITY_SECONDS = 70.0  # bookmarks come each 60 s
OK_CLASS = 2


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the API server, for whoever speaks to it besides us.

    Attributes:
        server: URL.
        ca_path: file of the CA, or None for the system's.
        certificate_path: client certificate, or None.
        key_path: its key, or None.
        token: bearer token as of now, or None.
        verify: whether the server's certificate is checked.
    """

    server: str
    ca_path: str | None
    certificate_path: str | None
    key_path: str | None
    token: str | None
    verify: bool


async def load_configuration() -> Configuration:
    """The pod's service account, else the kubeconfig.

    Raises:
        ConfigurationError: neither is there.
    """
    configuration: Configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # the library's gap
    except config.ConfigException:
        try:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # the library's gap
        except config.ConfigException as error:
            problem = f"no access to a cluster: no service account, and {error}"
            raise ConfigurationError([problem]) from None
    return configuration


class Connection:
    """Requests in, JSON out.

    Args:
        configuration: of the library.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._api = ApiClient(configuration)
        self._api.user_agent = f"smtp-operator/{__version__}"

    async def access(self) -> Access:
        """Credentials as they are now; a token in a pod changes each hour."""
        c = self._configuration
        header = await c.get_api_key_with_prefix("BearerToken", alias="authorization")
        token = header.split(" ", 1)[-1].strip() if header else None
        return Access(c.host, c.ssl_ca_cert, c.cert_file, c.key_file, token, bool(c.verify_ssl))

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """One request and its JSON.

        Raises:
            OperatorError: see ``cluster.answers``; a time-out or a broken connection is
                ``ClusterUnavailable``.
        """
        limit = READ_SECONDS if method == "GET" else WRITE_SECONDS
        timeout = aiohttp.ClientTimeout(total=limit, sock_connect=CONNECT_SECONDS)
        try:
            answer = await self._send(method, path, query, body, content_type, accept, timeout)
            content = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ClusterUnavailable(f"{method} {path}: {type(error).__name__}") from error
        if answer.status // 100 != OK_CLASS:
            raise failure(answer.status, answer.headers, content)
        return _parsed(content, path)

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], *, accept: str = "application/json"
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """One watch: its lines as they come. Silence of 70 s ends it.

        Raises:
            OperatorError: as ``call``; while lines are read too.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=INACTIVITY_SECONDS
        )
        answer: aiohttp.ClientResponse | None = None
        try:
            answer = await self._send("GET", path, query, None, "application/json", accept, timeout)
            if answer.status // 100 != OK_CLASS:
                raise failure(answer.status, answer.headers, await answer.read())
            yield _lines(answer.content)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ClusterUnavailable(f"WATCH {path}: {type(error).__name__}") from error
        finally:
            if answer is not None:
                answer.close()

    async def close(self) -> None:
        """End the pool."""
        await self._api.close()  # type: ignore[no-untyped-call]  # the library's gap
        await asyncio.sleep(0)  # aiohttp closes transports in the loop's next turn

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        content_type: str,
        accept: str,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own, one for each phase
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": accept, "User-Agent": self._api.user_agent}
        if body is not None:
            headers["Content-Type"] = content_type
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._configuration.host + path + (f"?{urlencode(query)}" if query else "")
        answer = await self._api.call_api(
            method, url, header_params=headers, body=body, _request_timeout=timeout
        )
        response: aiohttp.ClientResponse = answer.response
        return response


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines; half a line at the end of a stream is dropped, and has no length limit."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


def _parsed(content: bytes, path: str) -> Any:
    try:
        return json.loads(content) if content else {}
    except ValueError as error:
        raise ClusterUnavailable(f"{path}: the answer is no JSON") from error
