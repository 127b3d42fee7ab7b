"""The start configuration."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.resources.variables import start
from tests.support.fleets import a_gateway


def test_the_least_spec_makes_this_environment() -> None:
    """Written out whole: each line here restarts pods when it changes."""
    assert start(a_gateway()) == {
        "CAKEMAIL_API_URL": "https://api.cakemail.dev",
        "CAKEMAIL_MAX_CALLS": "100",
        "HTTP_PORT": "8080",
        "LOG_CLIENT_ADDRESS": "full",
        "SMTPS_PORT": "2465",
        "SMTP_DEADLINE": "50",
        "SMTP_GRACE": "120",
        "SMTP_HOSTNAME": "mail.demo.svc",
        "SMTP_LINE_ENDINGS": "normalize",
        "SMTP_LIVE_PATH": "/etc/smtp-gateway/live/live.env",
        "SMTP_PORT": "2587",
        "SMTP_PRE_STOP": "5",
        "TLS_CERT_PATH": "/etc/smtp-gateway/tls/tls.crt",
        "TLS_KEY_PATH": "/etc/smtp-gateway/tls/tls.key",
    }


LISTENERS: list[tuple[list[dict[str, Any]], dict[str, str]]] = [
    (
        [{"name": "a", "port": 2525}, {"name": "b", "port": 587}, {"name": "c", "port": 25}],
        {"SMTP_PORT": "2525", "SMTP_EXTRA_PORTS": "2587,2025"},
    ),
    (
        [{"name": "a", "port": 465, "tls": "Implicit"}],
        {"SMTP_PORT": "off", "SMTPS_PORT": "2465"},
    ),
    (
        [
            {"name": "a", "port": 465, "tls": "Implicit"},
            {"name": "b", "port": 4650, "tls": "Implicit"},
            {"name": "c", "port": 4651, "tls": "Implicit"},
        ],
        {"SMTP_PORT": "off", "SMTPS_PORT": "2465", "SMTPS_EXTRA_PORTS": "4650,4651"},
    ),
]


@pytest.mark.parametrize(("listeners", "wanted"), LISTENERS)
def test_every_set_of_listeners_can_be_said(
    listeners: list[dict[str, Any]], wanted: dict[str, str]
) -> None:
    """Below 1024 the container listens 2000 higher; without STARTTLS its port is switched off."""
    made = start(a_gateway(listeners=listeners))
    ports = {name: value for name, value in made.items() if name.endswith(("PORT", "PORTS"))}
    assert ports == {**wanted, "HTTP_PORT": "8080"}


def test_proxies_are_trusted_only_when_switched_on() -> None:
    """A list alone does nothing."""
    proxies = {"trustedCIDRs": ["10.0.0.0/8", "192.0.2.0/24"]}
    off = a_gateway(service={"proxyProtocol": proxies})
    on = a_gateway(service={"proxyProtocol": {**proxies, "enabled": True}})
    assert "SMTP_PROXY_PEERS" not in start(off)
    assert start(on)["SMTP_PROXY_PEERS"] == "10.0.0.0/8,192.0.2.0/24"


def test_younger_settings_are_stated_where_they_differ_from_the_gateway_s_own() -> None:
    """A line for a default would restart every fleet that there was before."""
    usual = {"connectTimeoutSeconds": 5, "readTimeoutSeconds": 30}
    plain = a_gateway(cakemail=usual, logging={"format": "json"})
    other = a_gateway(
        cakemail={"connectTimeoutSeconds": 3, "readTimeoutSeconds": 20},
        logging={"format": "console"},
    )
    assert start(plain) == start(a_gateway())
    assert start(other) == start(a_gateway()) | {
        "CAKEMAIL_CONNECT_TIMEOUT": "3",
        "CAKEMAIL_READ_TIMEOUT": "20",
        "LOG_FORMAT": "console",
    }


def test_the_greeting_is_the_certificate_s_name() -> None:
    """Unless a hostname is stated."""
    tls = {"selfSigned": {}, "dnsNames": ["*.example.com", "smtp.example.com"]}
    assert start(a_gateway(tls=tls))["SMTP_HOSTNAME"] == "smtp.example.com"
    stated = a_gateway(tls=tls, hostname="mx.example.com")
    assert start(stated)["SMTP_HOSTNAME"] == "mx.example.com"


def test_the_least_tls_version_is_stated_where_it_is_not_the_gateway_s_own() -> None:
    """1.2 is what it begins with anyway."""
    tls = {"selfSigned": {}, "minVersion": "1.3"}
    assert start(a_gateway(tls=tls))["TLS_MIN_VERSION"] == "1.3"
