"""kopf as event source: each setting applied, each handler only passes on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import kopf
import pytest

from smtp_operator import events
from smtp_operator.cluster.connection import Access
from smtp_operator.settings import load

REQUIRED = {"GATEWAY_IMAGE": "i", "POD_NAMESPACE": "ns"}
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def configured(version: tuple[int, int] = (1, 36), **variables: str) -> kopf.OperatorSettings:
    """What kopf has after we set it."""
    target = kopf.OperatorSettings()
    events.configure(target, load(REQUIRED | variables)[0], version)
    return target


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("peering", "standalone", True),
        ("posting", "enabled", False),
        ("posting", "loggers", False),
        ("persistence", "finalizer", "smtp.cakemail.com/unused"),
        ("scanning", "disabled", True),
        ("watching", "server_timeout", 300),
        ("watching", "client_timeout", 330),
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
        ("process", "ultimate_exiting_timeout", 20),
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
    registry = events.handlers(ear, access, on_startup=lambda _: None, on_cleanup=lambda: None)
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
    registry = events.handlers(Ear(), access, on_startup=lambda _: None, on_cleanup=lambda: None)
    for part in ("_changing", "_spawning", "_indexing", "_webhooks"):
        assert list(getattr(registry, part).get_all_handlers()) == []


async def test_credentials_are_handed_to_kopf() -> None:
    """A token runs out, so kopf asks again; a client certificate does not."""
    info = events.connection_info(await access(), NOW)
    assert (info.server, info.ca_path, info.token) == ("https://10.96.0.1:443", "/ca.crt", "token")
    assert info.insecure is False
    assert info.expiration == datetime(2026, 11, 24, 8, 10, tzinfo=UTC)
    by_certificate = Access("https://x", None, "/c", "/k", None, verify=False)
    other = events.connection_info(by_certificate, NOW)
    assert (other.certificate_path, other.private_key_path) == ("/c", "/k")
    assert (other.insecure, other.expiration) == (True, None)
