"""The way to the API: what is sent, what is read, and what a failure becomes."""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from asyncio import sslproto
from pathlib import Path

import pytest
import trustme
from prometheus_client import CollectorRegistry

from smtp_gateway.api.client import ApiClient, tls_context
from smtp_gateway.api.submitter import Answer
from smtp_gateway.errors import NotConfirmed, Unreachable, UpstreamError
from smtp_gateway.telemetry import Metrics
from tests.support.api_bench import Bench
from tests.support.api_double import ApiDouble, Said, said


async def get_error(client: ApiClient, *, timeout_seconds: float = 5.0) -> UpstreamError:
    """The error of a look-up that holds an address and a bearer."""
    with pytest.raises(UpstreamError) as caught:
        await client.get(
            "/lists",
            bearer="secret-bearer",
            query={"email": "someone@example.test"},
            timeout_seconds=timeout_seconds,
        )
    return caught.value


async def test_an_answer_carries_status_body_and_the_two_headers(parts: Bench) -> None:
    """Nothing else of an answer is used."""
    parts.api.on("GET /lists", said(503, {"a": 1}, retry_after="7", x_request_id="r-1"))
    answer = await parts.client.get("/lists", bearer="b")
    assert answer == Answer(503, b'{"a":1}', "7", "r-1")


async def test_absent_headers_are_empty(parts: Bench) -> None:
    """No header is no text."""
    parts.api.on("GET /lists", said(200, {}))
    assert await parts.client.get("/lists", bearer="b") == Answer(200, b"{}", "", "")


async def test_a_get_carries_the_bearer_and_asks_for_plain_json(parts: Bench) -> None:
    """A compressed body could be far larger than the limit sees."""
    parts.api.on("GET /lists", said(200, {}))
    await parts.client.get("/lists", bearer="abc.def")
    headers = parts.api.seen[0].headers
    assert headers["authorization"] == "Bearer abc.def"
    assert headers["accept"] == "application/json"
    assert headers["accept-encoding"] == "identity"


async def test_query_values_arrive_as_given(parts: Bench) -> None:
    """A plus sign in a sort term or an address is no space on the other side."""
    parts.api.on("GET /lists", said(200, {}))
    query = {"sort": "+created_on", "filter": "status==active", "email": "a+b&c=d%25@x.test"}
    await parts.client.get("/lists", bearer="b", query=query)
    assert parts.api.seen[0].query == query
    assert "+" not in parts.api.seen[0].target


@pytest.mark.parametrize(
    "password", ["a+b&c=d%e", "p%2Bq", "pässwörd €", " leading and trailing ", "日本語", '"\\/;']
)
async def test_a_form_arrives_as_given(parts: Bench, password: str) -> None:
    """Every character of a password survives the form's encoding."""
    await parts.client.post_form({"grant_type": "password", "password": password})
    (call,) = parts.api.calls("POST /token")
    assert call.form == {"grant_type": "password", "password": password}
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(parts: Bench, status: int) -> None:
    """The bearer would travel to wherever the answer points."""
    parts.api.on("GET /lists", said(status, {}, location=f"{parts.api.base_url}/elsewhere"))
    parts.api.on("POST /token", said(status, {}, location=f"{parts.api.base_url}/elsewhere"))
    assert (await parts.client.get("/lists", bearer="b")).status == status
    assert (await parts.client.post_form({"username": "u"})).status == status
    assert [call.name for call in parts.api.seen] == ["GET /lists", "POST /token"]


async def test_cookies_are_not_kept(parts: Bench) -> None:
    """All tenants share the pool, so a cookie of one would be sent for another."""
    parts.api.on("GET /lists", said(200, {}, set_cookie="session=one; Path=/"))
    await parts.client.get("/lists", bearer="one")
    await parts.client.get("/lists", bearer="two")
    assert "cookie" not in parts.api.seen[1].headers


@pytest.mark.parametrize(("status", "kept"), [(200, 2_097_152), (500, 65_536)])
async def test_an_endless_body_is_cut(parts: Bench, status: int, kept: int) -> None:
    """64 KiB of a refusal, 2 MiB of a success, and the connection is given up."""
    parts.api.on("GET /lists", Said(status, is_endless=True), said(200, {}))
    answer = await parts.client.get("/lists", bearer="b")
    assert (answer.status, len(answer.body)) == (status, kept)
    assert parts.api.endless_bytes < kept + 16 * 1_048_576  # what the sockets' buffers hold
    assert (await parts.client.get("/lists", bearer="b")).body == b"{}"
    assert parts.api.connections == 2


async def test_a_hundred_calls_share_the_pool(parts: Bench) -> None:
    """Trap 13: one after the other they need one connection."""
    parts.api.on("GET /lists", said(200, {}))
    for _ in range(100):
        await parts.client.get("/lists", bearer="b")
    assert parts.api.connections == 1


async def test_the_pool_is_bounded() -> None:
    """Many at once wait for their turn."""
    async with ApiDouble() as api:
        api.on("GET /lists", said(200, {}))
        metrics = Metrics(CollectorRegistry())
        client = ApiClient(api.base_url, f"{api.base_url}/token", metrics, connections=3)
        answers = await asyncio.gather(*(client.get("/lists", bearer="b") for _ in range(60)))
        await client.aclose()
    assert {answer.status for answer in answers} == {200}
    assert api.connections <= 3


async def test_a_closed_port_is_unreachable(parts: Bench) -> None:
    """Nothing was sent, and the error says so."""
    await parts.api.stop()
    error = await get_error(parts.client)
    assert (type(error), error.detail) == (Unreachable, "network_error")
    assert parts.errors("network_error") == 1


async def test_an_unknown_host_is_unreachable() -> None:
    """A name that cannot be resolved (RFC 6761 6.4) is no answer either."""
    metrics = Metrics(CollectorRegistry())
    client = ApiClient("http://api.invalid", "http://api.invalid/token", metrics)
    error = await get_error(client)
    await client.aclose()
    assert type(error) is Unreachable


async def test_a_lost_connection_is_not_confirmed(parts: Bench) -> None:
    """The request was there, the answer was not."""
    parts.api.on("POST /token", Said(resets=True))
    with pytest.raises(NotConfirmed) as caught:
        await parts.client.post_form({"username": "u"})
    assert caught.value.detail == "network_error"
    assert parts.errors("network_error") == 1


async def test_a_login_is_never_repeated_below(parts: Bench) -> None:
    """Not even when a kept connection turns out to be lost: wrong passwords are counted there."""
    parts.api.on("POST /token", said(200, {}), Said(resets=True))
    await parts.client.post_form({"username": "u"})
    with pytest.raises(NotConfirmed):
        await parts.client.post_form({"username": "u"})
    assert len(parts.api.calls("POST /token")) == 2
    assert parts.api.connections == 1


async def test_a_lookup_on_a_lost_kept_connection_is_repeated_once(parts: Bench) -> None:
    """A read may be (RFC 9110 9.2.2), and a server may close an idle connection at any time."""
    parts.api.on("GET /lists", said(200, {}), Said(resets=True), said(200, {}), Said(resets=True))
    await parts.client.get("/lists", bearer="b")
    assert (await parts.client.get("/lists", bearer="b")).status == 200
    assert type(await get_error(parts.client)) is NotConfirmed
    assert len(parts.api.calls("GET /lists")) == 5


async def test_a_silent_api_is_a_timeout(parts: Bench) -> None:
    """The limit covers the whole call."""
    parts.api.on("GET /lists", Said(gate=asyncio.Event()))
    error = await get_error(parts.client, timeout_seconds=0.05)
    assert (type(error), error.detail) == (NotConfirmed, "timeout")
    assert parts.errors("timeout") == 1


async def test_a_body_that_stops_is_not_confirmed(parts: Bench) -> None:
    """Half an answer is none."""
    parts.api.on("GET /lists", Said(200, b"{", {"content-length": "9"}))
    error = await get_error(parts.client, timeout_seconds=0.05)
    assert type(error) is NotConfirmed


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "validation"), (401, "auth"), (403, "auth"), (422, "validation"), (429, "rate_limit"),
     (500, "server_error"), (503, "server_error"), (302, "unreadable")],
)  # fmt: skip
async def test_refusals_are_counted_by_kind(parts: Bench, status: int, kind: str) -> None:
    """The labels are a closed list."""
    parts.api.on("GET /lists", said(status, {}))
    await parts.client.get("/lists", bearer="b")
    assert parts.errors(kind) == 1


async def test_latency_is_told_by_endpoint_and_outcome(parts: Bench) -> None:
    """One observation for each call."""
    parts.api.on("GET /lists", said(500, {}))
    await parts.client.post_form({"username": "u"})
    await parts.client.get("/lists", bearer="b")
    sample = parts.metrics.registry.get_sample_value
    name = "smtp_api_latency_seconds_count"
    assert sample(name, {"endpoint": "auth", "status": "success"}) == 1
    assert sample(name, {"endpoint": "lookup", "status": "error"}) == 1
    assert sample(name, {"endpoint": "lookup", "status": "success"}) == 0


@pytest.mark.parametrize("fault", [Said(resets=True), Said(gate=asyncio.Event())])
async def test_errors_hold_neither_address_nor_bearer(parts: Bench, fault: Said) -> None:
    """Not in the text, and not in a chained cause that a log would print."""
    parts.api.on("GET /lists", fault)
    error = await get_error(parts.client, timeout_seconds=0.05)
    assert error.__context__ is None
    printed = "".join(traceback.format_exception(error))
    assert "someone@" not in printed
    assert "secret-bearer" not in printed


async def test_calls_write_no_log(parts: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The libraries below would write URLs, and URLs hold addresses."""
    caplog.set_level(logging.DEBUG)
    parts.api.on("GET /lists", said(200, {}))
    await parts.client.get("/lists", bearer="secret-bearer", query={"email": "someone@x.test"})
    await parts.client.post_form({"username": "someone@x.test", "password": "secret"})
    assert [r for r in caplog.records if "someone" in r.getMessage()] == []
    assert "secret" not in caplog.text


async def test_the_base_may_have_a_path_and_a_slash(parts: Bench) -> None:
    """Paths are added to the base, whatever it is."""
    parts.api.on("GET /v9/lists", said(200, {}))
    client = ApiClient(f"{parts.api.base_url}/v9/", "http://unused.invalid/token", parts.metrics)
    assert (await client.get("/lists", bearer="b")).status == 200
    await client.aclose()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that no system knows."""
    return trustme.CA()


def server_side(authority: trustme.CA, host: str) -> ssl.SSLContext:
    """A server certificate for a host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


async def test_a_private_authority_can_be_trusted(authority: trustme.CA, tmp_path: Path) -> None:
    """Its roots come from a file."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with ApiDouble(server_side(authority, "localhost")) as api:
        api.on("GET /lists", said(200, {}))
        client = ApiClient(
            api.base_url, f"{api.base_url}/token", Metrics(CollectorRegistry()),
            tls=tls_context(tmp_path / "ca.pem"),
        )  # fmt: skip
        assert (await client.get("/lists", bearer="b")).status == 200
        await client.aclose()


@pytest.mark.parametrize("host", ["localhost", "elsewhere.test"])
async def test_a_certificate_nobody_vouches_for_is_unreachable(
    authority: trustme.CA, tmp_path: Path, host: str
) -> None:
    """An unknown authority, or a known one and another host's name."""
    trusted = tls_context()
    if host != "localhost":
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        trusted = tls_context(tmp_path / "ca.pem")
    async with ApiDouble(server_side(authority, host)) as api:
        metrics = Metrics(CollectorRegistry())
        client = ApiClient(api.base_url, f"{api.base_url}/token", metrics, tls=trusted)
        error = await get_error(client)
        await client.aclose()
    assert type(error) is Unreachable
    assert api.seen == []


def test_tls_is_verified_and_small() -> None:
    """TLS 1.2 at least (RFC 8996), and 32 KiB a connection instead of 256."""
    context = tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] > 50
    assert sslproto.SSLProtocol.max_size == 32_768
