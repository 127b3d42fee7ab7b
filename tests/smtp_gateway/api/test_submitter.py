"""Both submitters against a scripted server on real sockets: same answers, same failures."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import trustme
from httpx_aiohttp import AiohttpTransport

from smtp_gateway.api.submitter import (
    PIECE_BYTES,
    AiohttpSubmitter,
    Answer,
    HttpxSubmitter,
    Submitter,
    has_news,
    open_session,
    pieces,
)
from smtp_gateway.errors import GatewayError, NotConfirmed, Unreachable
from tests.support.api_double import ApiDouble, Said, said
from tests.support.fakes import until

POST = "POST /v2/emails"
BODY = (b'{"email":"a@x.test"', b',"content":{}', b"}")
QUEUED = {"data": {"id": "0b5a8c1e-6a3f-4a8e-9d55-2f1f0c7c9a11", "status": "queued"}}

Make = Callable[[str], Submitter]


def straight(base_url: str, tls: ssl.SSLContext | None = None) -> Submitter:
    """The submitter in use."""
    return AiohttpSubmitter(open_session(connections=10, tls=tls), base_url)


def reference(base_url: str) -> Submitter:
    """The submitter through httpx."""
    return HttpxSubmitter(httpx.AsyncClient(transport=AiohttpTransport()), base_url)


BOTH = pytest.mark.parametrize("make", [straight, reference])


@pytest.fixture
async def api() -> AsyncIterator[ApiDouble]:
    """A server that accepts every mail."""
    async with ApiDouble() as double:
        double.on(POST, said(201, QUEUED))
        yield double


async def send(
    submitter: Submitter, *, account_id: int | None = None, timeout_seconds: float = 5
) -> Answer:
    """One call with the usual body."""
    return await submitter.submit(
        BODY, bearer="token", account_id=account_id, timeout_seconds=timeout_seconds
    )


async def outcome(call: Awaitable[Answer]) -> tuple[object, ...]:
    """An answer or an error as comparable values."""
    try:
        answer = await call
    except GatewayError as error:
        return (type(error).__name__, error.facts["cause"])
    return (answer.status, answer.body, answer.retry_after, answer.request_id)


@BOTH
async def test_request_is_the_joined_pieces_as_json_with_the_bearer(
    api: ApiDouble, make: Make
) -> None:
    """The API sees one POST with the body, its length, its type and the token."""
    submitter = make(api.base_url)
    answer = await send(submitter)
    await submitter.aclose()
    (call,) = api.calls(POST)
    assert call.body == b'{"email":"a@x.test","content":{}}'
    assert call.headers["content-type"] == "application/json"
    assert call.headers["content-length"] == "33"
    assert "transfer-encoding" not in call.headers
    assert call.bearer == "token"
    assert call.target == "/v2/emails"
    assert answer.status == 201


@BOTH
async def test_selected_account_travels_as_query(api: ApiDouble, make: Make) -> None:
    """``account_id`` is a query parameter, and absent when none is selected."""
    submitter = make(f"{api.base_url}/")
    await send(submitter, account_id=77)
    await send(submitter, account_id=78)
    await send(submitter)
    await submitter.aclose()
    assert [call.query for call in api.seen] == [{"account_id": "77"}, {"account_id": "78"}, {}]


SCRIPTS = {
    **{
        f"status {status}": said(status, {"detail": "x"}, retry_after="7", x_request_id="r-1")
        for status in (200, 201, 202, 204, 400, 401, 403, 404, 405, 406, 408, 409, 413, 415)
        if status != 204
    },
    **{
        f"status {status}": said(status, {"detail": "x"}, retry_after="7")
        for status in (418, 422, 425, 429, 500, 501, 502, 503, 504, 599)
    },
    "redirect": said(302, b"", location="/elsewhere"),
    "html": said(502, b"<html>bad gateway</html>", content_type="text/html"),
    "empty": said(201, b""),
    "reset before the answer": Said(resets=True),
    "reset before the body was read": Said(resets_early=True),
    "reset inside the answer": Said(201, b'{"data":{}}', cut_at=4),
    "half json": said(201, b'{"data":'),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
async def test_both_paths_agree(api: ApiDouble, script: Said) -> None:
    """The straight path and the httpx path give the same answer or the same error."""
    api.on(POST, script)
    first, second = straight(api.base_url), reference(api.base_url)
    found, expected = await outcome(send(first)), await outcome(send(second))
    await first.aclose()
    await second.aclose()
    assert found == expected


@BOTH
@pytest.mark.parametrize(
    "script",
    [Said(resets=True), Said(resets_early=True), Said(201, b'{"data":{}}', cut_at=4)],
    ids=["before", "early", "inside"],
)
async def test_reset_after_sending_began_is_not_confirmed(
    api: ApiDouble, make: Make, script: Said
) -> None:
    """A connection lost after the first byte may hide an accepted mail."""
    api.on(POST, script)
    submitter = make(api.base_url)
    with pytest.raises(NotConfirmed) as caught:
        await send(submitter)
    await submitter.aclose()
    assert caught.value.facts["cause"] == "network"


@BOTH
async def test_slow_answer_is_not_confirmed_as_timeout(api: ApiDouble, make: Make) -> None:
    """The limit of the whole call counts the wait for the answer."""
    api.on(POST, Said(201, b"{}", gate=asyncio.Event()))
    submitter = make(api.base_url)
    with pytest.raises(NotConfirmed) as caught:
        await send(submitter, timeout_seconds=0.05)
    await submitter.aclose()
    assert caught.value.facts["cause"] == "timeout"


@BOTH
async def test_refused_connection_is_unreachable(make: Make) -> None:
    """Nobody listens: nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    submitter = make(f"http://127.0.0.1:{port}")
    with pytest.raises(Unreachable):
        await send(submitter)
    await submitter.aclose()


@BOTH
async def test_unknown_name_is_unreachable(make: Make) -> None:
    """A name that does not resolve: nothing was sent."""
    submitter = make("http://name.invalid:9")
    with pytest.raises(Unreachable):
        await send(submitter)
    await submitter.aclose()


async def test_untrusted_certificate_is_unreachable() -> None:
    """TLS fails before the request: nothing was sent."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    async with ApiDouble(context) as api:
        submitter = straight(api.base_url, ssl.create_default_context())
        with pytest.raises(Unreachable):
            await send(submitter)
        await submitter.aclose()
        assert api.seen == []


async def test_trusted_certificate_works_over_tls_and_keeps_the_connection() -> None:
    """With the right trust store calls go through, on one connection."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with ApiDouble(server) as api:
        api.on(POST, said(201, QUEUED))
        submitter = straight(api.base_url, client)
        statuses = [(await send(submitter)).status for _ in range(5)]
        await submitter.aclose()
    assert statuses == [201] * 5
    assert api.connections == 1


@BOTH
async def test_connection_is_kept_between_calls(api: ApiDouble, make: Make) -> None:
    """Trap 13, a new HTTP client per message: a hundred calls need one connection."""
    submitter = make(api.base_url)
    for _ in range(100):
        await send(submitter)
    await submitter.aclose()
    assert api.connections == 1


async def test_kept_connection_that_the_server_closed_costs_nothing(api: ApiDouble) -> None:
    """The end of a kept connection is seen before anything is written, and the call goes out anew.

    The server closes in silence after each answer, and the next call begins at once, mostly before
    the loop has read the end: no call may be lost or be called unconfirmed for that.
    """
    api.on(POST, Said(201, b"{}", closes=True))
    submitter = straight(api.base_url)
    statuses = []
    for _ in range(50):
        statuses.append((await send(submitter)).status)
        await until(lambda: not api.open_connections)
    await submitter.aclose()
    assert statuses == [201] * 50
    assert len(api.calls(POST)) == 50


async def test_end_that_waits_unread_in_the_socket_is_seen() -> None:
    """What has arrived but was not yet read by the loop is found by looking at the socket."""
    near, far = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)
    before = has_news(transport)
    far.close()
    after = has_news(transport)  # no turn of the loop lies between
    transport.close()
    assert (before, after) == (False, True)


@BOTH
async def test_endless_answer_is_cut_at_64_kib(api: ApiDouble, make: Make) -> None:
    """An answer without end costs 64 KiB and the connection, nothing more."""
    api.on(POST, Said(400, b"", is_endless=True), said(201, QUEUED))
    submitter = make(api.base_url)
    first = await send(submitter)
    second = await send(submitter)
    await submitter.aclose()
    assert (first.status, len(first.body)) == (400, 65_536)
    assert second.status == 201


@BOTH
async def test_redirect_is_not_followed(api: ApiDouble, make: Make) -> None:
    """The bearer never travels to another place."""
    api.on(POST, said(307, b"", location=f"{api.base_url}/elsewhere"))
    submitter = make(api.base_url)
    answer = await send(submitter)
    await submitter.aclose()
    assert answer.status == 307
    assert [call.name for call in api.seen] == [POST]


@BOTH
async def test_large_body_arrives_whole(api: ApiDouble, make: Make) -> None:
    """Three mebibytes in one piece reach the API unchanged."""
    body = (b'{"a":"', b"x" * 3_000_000, b'"}')
    submitter = make(api.base_url)
    answer = await submitter.submit(body, bearer="t", account_id=None, timeout_seconds=10)
    await submitter.aclose()
    assert answer.status == 201
    assert api.seen[0].body == b"".join(body)


def test_small_body_leaves_in_one_write() -> None:
    """Up to 64 KiB the pieces are joined: one write, one TLS record run."""
    assert list(pieces(BODY, 33)) == [b'{"email":"a@x.test","content":{}}']


def test_no_write_of_a_large_body_exceeds_the_piece() -> None:
    """Large pieces are cut, and joined they are the body again."""
    body = (b"head", b"y" * 300_000, b"end")
    cut = list(pieces(body, 300_007))
    assert max(map(len, cut)) == PIECE_BYTES
    assert b"".join(cut) == b"".join(body)


async def test_cancelled_call_does_not_spoil_the_next_one(api: ApiDouble) -> None:
    """A call given up takes its connection along: no mail gets the answer of another."""
    gate = asyncio.Event()
    api.on(POST, Said(500, b"late", gate=gate), said(201, QUEUED))
    submitter = straight(api.base_url)
    call = asyncio.get_running_loop().create_task(send(submitter))
    await api.arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gate.set()
    assert (await send(submitter)).status == 201
    await submitter.aclose()
