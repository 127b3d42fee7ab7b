"""kopf as event source: each setting applied, each handler only passes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf
import pytest
from aiohttp import web

from smtp_operator import events
from smtp_operator.cluster.connection import Access
from smtp_operator.settings import load
from tests.support.empty_api import DISCOVERY
from tests.support.fleet_world import GivenClock, quiet_log

REQUIRED = {"GATEWAY_IMAGE": "i", "POD_NAMESPACE": "ns"}
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def configured(version: tuple[int, int] = (1, 36), **variables: str) -> kopf.OperatorSettings:
    """What kopf has after we set it."""
    target = kopf.OperatorSettings()
    events.configure(target, load(REQUIRED | variables)[0], version, 70.0)
    return target


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("peering", "standalone", True),
        ("posting", "enabled", False),
        ("posting", "loggers", False),
        ("persistence", "finalizer", "smtp.cakemail.com/unused"),
        ("scanning", "disabled", True),
        ("watching", "server_timeout", 120),
        ("watching", "client_timeout", 150),
        ("watching", "connect_timeout", 10),
        ("watching", "inactivity_timeout", 70),
        ("watching", "chunk_size", 500),
        ("watching", "initial_streaming", True),
        ("networking", "request_timeout", 30),
        ("networking", "connect_timeout", 5),
        ("networking", "error_backoffs", (0.3, 0.7, 1.9, 4.1, 7.3, 13.7, 27.1)),
        ("networking", "enforce_retry_after", True),
        ("execution", "default_backoff", 1),
        ("queueing", "worker_limit", None),
        ("process", "ultimate_exiting_timeout", None),
    ],
)
def test_each_setting_is_applied(group: str, name: str, value: object) -> None:
    """And exists: kopf would take a misspelt name without a word."""
    assert hasattr(getattr(kopf.OperatorSettings(), group), name)
    assert getattr(getattr(configured(), group), name) == value


def test_older_servers_are_listed_not_streamed() -> None:
    """Streamed lists are on by default since 1.34."""
    assert configured((1, 33)).watching.initial_streaming is False
    assert configured((1, 34)).watching.initial_streaming is True


def test_a_selector_is_the_servers_to_apply() -> None:
    """What is another operator's does not even reach us."""
    made = configured(WATCH_SELECTOR="ring=canary")
    assert list(made.watching.label_selectors.values()) == ["ring=canary"]
    assert not configured().watching.label_selectors


class Ear:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, bool]] = []

    def gateway_seen(self, metadata: Mapping[str, Any], *, listed: bool) -> None:
        """See ``Sink``."""
        self.heard.append(("seen", metadata["name"], listed))

    def gateway_deleted(self, metadata: Mapping[str, Any]) -> None:
        """See ``Sink``."""
        self.heard.append(("deleted", metadata["name"], False))


async def access() -> Access:
    """Of a pod."""
    return Access("https://10.96.0.1:443", "/ca.crt", None, None, "token", verify=True)


async def test_handlers_only_pass_on() -> None:
    """No object is changed, no state is kept; a first list is told from an edit."""
    ear = Ear()
    registry = events.handlers(ear, access, on_startup=lambda _: None)
    (handler,) = registry._watching.get_all_handlers()  # noqa: SLF001  # kopf has no other way
    body = {"metadata": {"name": "alpha", "namespace": "mail"}}
    for told in (None, "ADDED", "MODIFIED", "DELETED"):
        await handler.fn(type=told, body=body)  # type: ignore[arg-type, call-arg, misc]  # a part of kopf's keywords
    assert ear.heard == [
        ("seen", "alpha", True),
        ("seen", "alpha", False),
        ("seen", "alpha", False),
        ("deleted", "alpha", False),
    ]


async def test_nothing_of_kopf_that_stores_or_blocks_is_registered() -> None:
    """No change handler, daemon, timer or webhook: so no finalizer and no annotation."""
    registry = events.handlers(Ear(), access, on_startup=lambda _: None)
    for part in ("_changing", "_spawning", "_indexing", "_webhooks"):
        assert list(getattr(registry, part).get_all_handlers()) == []


async def test_credentials_are_handed_to_kopf() -> None:
    """They run out, so kopf asks again: a token is another by then."""
    info = events.connection_info(await access(), NOW)
    assert (info.server, info.ca_path, info.token) == ("https://10.96.0.1:443", "/ca.crt", "token")
    assert info.insecure is False
    assert info.expiration == datetime(2026, 11, 24, 8, 10, tzinfo=UTC)
    by_certificate = Access("https://x", None, "/c", "/k", None, verify=False)
    other = events.connection_info(by_certificate, NOW)
    assert (other.certificate_path, other.private_key_path) == ("/c", "/k")
    assert other.insecure is True


async def test_a_credential_that_was_refused_may_be_tried_again() -> None:
    """It remembers what was refused; the same at another time is another to it."""
    by_certificate = Access("https://x", None, "/c", "/k", None, verify=True)
    first = events.connection_info(by_certificate, NOW)
    assert events.connection_info(by_certificate, NOW + timedelta(seconds=1)) != first


class ApiServer:
    """Answers kopf, and is counted on to do harm."""

    def __init__(self) -> None:
        self.lists, self.broken = 0, 0
        self.heard = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Lists are empty; watches tell half a line as long as ``broken`` says so."""
        if request.path in DISCOVERY:
            return web.json_response(DISCOVERY[request.path])
        if "watch" not in request.query:
            self.lists += 1
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
        if self.broken:
            self.broken -= 1
            return web.Response(body=b'{"type": "ADD')
        self.heard.set()
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response


@pytest.fixture
async def served() -> AsyncIterator[tuple[ApiServer, Access]]:
    """The server, and how kopf gets there."""
    server, app = ApiServer(), web.Application()
    app.router.add_route("GET", "/{rest:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server, Access(url, None, None, None, None, verify=True)
    await runner.cleanup()


async def fed(
    server: ApiServer,
    access: Access,
    restarts: Sequence[float],
    watches: Sequence[events.FeedWatch] = (),
) -> None:
    """Run kopf until its watch is sound."""

    async def known() -> Access:
        return access

    settings, stop = load(REQUIRED | {"WATCH_NAMESPACES": "mail"})[0], asyncio.Event()
    registry = events.handlers(
        Ear(),
        known,
        on_startup=lambda target: events.configure(target, settings, (1, 33), 70.0),
        watches=watches,
    )
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        feeding = group.create_task(
            events.feed(
                registry, settings, stop, lambda: None, quiet_log(), restarts_seconds=restarts
            )
        )
        sound = group.create_task(server.heard.wait())
        await asyncio.wait((feeding, sound), return_when=asyncio.FIRST_COMPLETED)
        sound.cancel()
        stop.set()


async def test_kopf_is_begun_anew_when_it_gives_up(served: tuple[ApiServer, Access]) -> None:
    """Half a line ends it; each new one lists, so nothing is missed; other tasks live on."""
    server, access = served
    server.broken = 2
    await fed(server, access, (0.01, 0.01))
    assert server.lists == 3


async def test_what_kopf_hears_is_heard(served: tuple[ApiServer, Access]) -> None:
    """Of its own namespace; the API server's other answers are no sign of life of the watch."""
    clock = GivenClock()
    ours, other = (events.FeedWatch(namespace, clock) for namespace in ("mail", "shop"))
    clock.advance(60.0)
    await fed(*served, (), (ours, other))
    assert (ours.synced.is_set(), ours.age_seconds()) == (True, 0.0)
    assert (other.synced.is_set(), other.age_seconds()) == (False, 60.0)


def test_a_list_is_heard_but_does_not_end_the_wait() -> None:
    """It may be one chunk of many; the stream comes after the last."""
    clock = GivenClock()
    watch = events.FeedWatch("", clock)
    clock.advance(60.0)
    watch.answered("/apis/smtp.cakemail.com/v1alpha1/namespaces/mail/smtpgateways", stream=True)
    assert (watch.synced.is_set(), watch.age_seconds()) == (False, 60.0)
    watch.answered("/k8s/apis/smtp.cakemail.com/v1alpha1/smtpgateways", stream=False)
    assert (watch.synced.is_set(), watch.age_seconds()) == (False, 0.0)


async def test_what_ends_kopf_again_and_again_ends_the_program(
    served: tuple[ApiServer, Access],
) -> None:
    """The platform starts it anew, and another replica may be better off."""
    server, access = served
    server.broken = 3
    with pytest.raises(ExceptionGroup) as ending:
        await fed(server, access, (0.01, 0.01))
    assert ending.group_contains(json.JSONDecodeError)
