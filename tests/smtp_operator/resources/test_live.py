"""The live configuration."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from dotenv import dotenv_values

from smtp_operator.resources.live import content_hash, text
from tests.support.fleets import a_gateway


def test_the_file_holds_all_that_changes_without_a_restart() -> None:
    """Written out whole."""
    gateway = a_gateway(
        cakemail={
            "listId": 12,
            "emailType": "marketing",
            "defaultSenderId": "77",
            "tags": ["a", "b"],
            "tracking": {"opens": True},
        },
        limits={
            "maxMessageBytes": 1_048_576,
            "maxRecipients": 5,
            "maxConnections": 200,
            "messagesPerConnection": 10,
            "emailsPerMinutePerClient": 7,
            "idleTimeoutSeconds": 60,
        },
        logging={"level": "warning"},
    )
    assert text(gateway.spec).splitlines() == [
        "CAKEMAIL_EMAIL_TYPE=marketing",
        "CAKEMAIL_FALLBACK_SENDER_ID=77",
        "CAKEMAIL_LIST_ID=12",
        "CAKEMAIL_TAGS=a,b",
        "CAKEMAIL_TRACK_CLICKS_HTML=false",
        "CAKEMAIL_TRACK_CLICKS_TEXT=false",
        "CAKEMAIL_TRACK_OPENS=true",
        "CONNECTION_TIMEOUT=60",
        "LOG_LEVEL=WARNING",
        "MAX_CONNECTIONS_PER_POD=200",
        "MESSAGE_SIZE_LIMIT=1048576",
        "RATE_LIMIT_PER_IP=7",
        "SMTP_MAX_RECIPIENTS=5",
        "SMTP_MESSAGES_PER_CONNECTION=10",
    ]


YOUNGER: list[tuple[dict[str, Any], list[str]]] = [
    ({"postmaster": "p@example.com"}, ["SMTP_POSTMASTER=p@example.com"]),
    ({"authentication": {"mechanisms": ["LOGIN"]}}, ["SMTP_AUTH_MECHANISMS=LOGIN"]),
    ({"authentication": {"mechanisms": ["LOGIN", "PLAIN"]}}, []),
    ({"authentication": {"maxCacheSeconds": 0}}, ["CAKEMAIL_LOGIN_CACHE=0"]),
    ({"authentication": {"lockout": {"perLogin": 5, "perClient": 50}}}, []),
    (
        {"authentication": {"lockout": {"perLogin": 3, "perClient": 20}}},
        ["SMTP_LOCKOUT_PER_ADDRESS=20", "SMTP_LOCKOUT_PER_LOGIN=3"],
    ),
    (
        {"authentication": {"lockout": {"windowSeconds": 60, "lockSeconds": 61}}},
        ["SMTP_LOCKOUT_SECONDS=61", "SMTP_LOCKOUT_WINDOW=60"],
    ),
    ({"cakemail": {"inlineImages": "Attach", "allowSecondSending": False}}, []),
    (
        {"cakemail": {"inlineImages": "Refuse", "allowSecondSending": True}},
        ["CAKEMAIL_ALLOW_SECOND_SENDING=true", "CAKEMAIL_INLINE_IMAGES=refuse"],
    ),
    (
        {"limits": {"maxConnectionsPerClient": 5, "maxConnectionsPerLogin": 6}},
        ["SMTP_CONNECTIONS_PER_ADDRESS=5", "SMTP_CONNECTIONS_PER_LOGIN=6"],
    ),
]


@pytest.mark.parametrize(("spec", "lines"), YOUNGER, ids=[str(spec) for spec, _ in YOUNGER])
def test_younger_settings_are_there_only_where_they_say_something(
    spec: dict[str, Any], lines: list[str]
) -> None:
    """A gateway of an older image refuses a file with a name that it does not know."""
    usual = set(text(a_gateway().spec).splitlines())
    assert sorted(set(text(a_gateway(**spec).spec).splitlines()) - usual) == lines
    assert usual <= set(text(a_gateway(**spec).spec).splitlines())


def test_what_is_not_stated_is_left_out() -> None:
    """An overlay's variable of that name then holds."""
    names = [line.partition("=")[0] for line in text(a_gateway().spec).splitlines()]
    assert "CAKEMAIL_LIST_ID" not in names
    assert "CAKEMAIL_TAGS" not in names
    assert "CAKEMAIL_FALLBACK_SENDER_ID" not in names


@pytest.mark.parametrize("odd", ["it's", "back\\slash", "#1", '"quoted"', "a\\'b"])
def test_any_sender_survives_the_file(odd: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Read back by the library that the gateway reads it with."""
    path = tmp_path_factory.mktemp("live") / "live.env"
    path.write_text(text(a_gateway(cakemail={"defaultSenderId": odd}).spec), encoding="utf-8")
    assert dotenv_values(path)["CAKEMAIL_FALLBACK_SENDER_ID"] == odd


def test_the_hash_is_the_one_that_pods_export() -> None:
    """The first 48 bits of the file's SHA-256: a gauge holds them exactly."""
    assert content_hash("A=1\n") == hashlib.sha256(b"A=1\n").hexdigest()[:12]
    assert int("f" * 12, 16) == int(float(int("f" * 12, 16)))
