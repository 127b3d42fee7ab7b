"""One connection pool to the API server: raw JSON over the official library's transport.

The library brings addresses, certificates and the pool; its models, its discovery, its retries
and its renewal of tokens are not used. Every request has a time-out; a stream has one for silence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client import ApiClient, Configuration

from smtp_operator import __version__
from smtp_operator.cluster.answers import failure
from smtp_operator.errors import ClusterUnavailable, ConfigurationError

OK_CLASS = 2
TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
NO_LIMIT = 0  # as aiohttp's connector has it


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the API server is waited for, in seconds.

    Attributes:
        connect: until a connection stands.
        read: for the whole of a GET.
        write: for the whole of a write. Not above 5 s: a standby takes over 5 s after a holder's
            last request may have begun; see ``elector``.
        silence: for the next bytes of a watch. Bookmarks come each 60 s.
    """

    connect: float = 5.0
    read: float = 30.0
    write: float = 5.0
    silence: float = 70.0


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
    else:
        follow_token(configuration, TOKEN_FILE)
    return configuration


def follow_token(configuration: Configuration, file: Path) -> None:
    """Let each request carry the token that stands in a file then.

    The library reads the file once a minute. A token that was withdrawn would be sent for the rest
    of that minute, which is longer than the Lease waits for a renewal.
    """

    def read(target: Configuration) -> None:
        try:
            token = file.read_text(encoding="ascii").strip()
        except OSError:
            return  # it is being replaced; what it held may still do
        if token:
            target.api_key["BearerToken"] = f"Bearer {token}"

    read(configuration)  # the library asks for it again only where there has been one
    configuration.refresh_api_key_hook = read  # type: ignore[assignment]  # typed as None


class Connection:
    """Requests in, JSON out.

    Args:
        configuration: of the library.
        patience: time-outs.
    """

    def __init__(self, configuration: Configuration, patience: Patience = Patience()) -> None:
        self.patience = patience
        self._configuration = configuration
        # Each watch keeps a connection to itself: some namespaces and kinds fill the library's
        # hundred, and then no request would ever leave. Workers and bucket bound the rest.
        configuration.connection_pool_maxsize = NO_LIMIT
        self._api = ApiClient(configuration)
        self._api.user_agent = f"smtp-operator/{__version__}"

    @property
    def host(self) -> str:
        """URL of the API server."""
        return str(self._configuration.host)

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
    ) -> dict[str, Any]:
        """One request and the object that answers it.

        Raises:
            OperatorError: see ``cluster.answers``; a time-out, a broken connection, and an answer
                that is no object are ``ClusterUnavailable``.
        """
        limit = self.patience.read if method == "GET" else self.patience.write
        timeout = aiohttp.ClientTimeout(total=limit, sock_connect=self.patience.connect)
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
        """One watch: its lines as they come. Silence ends it.

        Raises:
            OperatorError: as ``call``; while lines are read too.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self.patience.connect, sock_read=self.patience.silence
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
                abandon(answer)

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


def abandon(answer: aiohttp.ClientResponse) -> None:
    """Leave an answer that has no end.

    A server that goes on sending does not answer TLS's farewell: until that has timed out the
    socket would stay open, and the end of the pool does not wait for it.
    """
    if answer.connection is not None and answer.connection.transport is not None:
        answer.connection.transport.abort()
    answer.close()


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines; half a line at the end of a stream is dropped, and has no length limit."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line


def _parsed(content: bytes, path: str) -> dict[str, Any]:
    """The API server answers nothing but objects; a proxy between may, or break off."""
    try:
        answer = json.loads(content)
    except ValueError as error:
        raise ClusterUnavailable(f"{path}: the answer is no JSON") from error
    if not isinstance(answer, dict):
        raise ClusterUnavailable(f"{path}: the answer is no object")
    return answer
