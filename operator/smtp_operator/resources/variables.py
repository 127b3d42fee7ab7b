"""The gateway's start configuration: its environment variables, made from a spec.

What may change while pods run is in ``live.py``; a change of anything here restarts them. Every
name is one of the gateway's settings; ``tests/test_contract.py`` holds the two programs together.
A setting that gets a field later is stated only where it differs from the gateway's default: a new
line here would restart every fleet.
"""

from __future__ import annotations

from collections.abc import Iterable

from smtp_operator.fleet.model import Gateway
from smtp_operator.fleet.names import service_host
from smtp_operator.fleet.spec import HEALTH_PORT, Listener, Spec

TLS_FOLDER = "/etc/smtp-gateway/tls"
LIVE_FOLDER = "/etc/smtp-gateway/live"
CA_FOLDER = "/etc/smtp-gateway/ca"
LIVE_FILE = "live.env"


def start(gateway: Gateway) -> dict[str, str]:
    """Names and values; those that would be empty are left out."""
    spec = gateway.spec
    values = {
        **_listeners(spec.listeners),
        **_tls(spec),
        **_api(spec),
        **_proxy(spec),
        **_times(spec),
        "SMTP_HOSTNAME": spec.greeting_name(service_host(gateway.key)),
        "SMTP_LINE_ENDINGS": spec.line_endings.lower(),
        "SMTP_LIVE_PATH": f"{LIVE_FOLDER}/{LIVE_FILE}",
        "HTTP_PORT": str(HEALTH_PORT),
        "LOG_FORMAT": _unless("json", spec.logging.format),
        "LOG_CLIENT_ADDRESS": spec.logging.client_address.lower(),
    }
    return {name: value for name, value in sorted(values.items()) if value != ""}


def _unless(usual: str, value: str) -> str:
    return "" if value == usual else value


def _listeners(listeners: Iterable[Listener]) -> dict[str, str]:
    ports: dict[str, list[str]] = {"StartTLS": [], "Implicit": []}
    for listener in listeners:
        ports[listener.tls].append(str(listener.container_port))
    return {
        # One that is not wanted is said so: the gateway's default would open 587.
        "SMTP_PORT": (ports["StartTLS"] or ["off"])[0],
        "SMTP_EXTRA_PORTS": ",".join(ports["StartTLS"][1:]),
        "SMTPS_PORT": ports["Implicit"][0] if ports["Implicit"] else "",
        "SMTPS_EXTRA_PORTS": ",".join(ports["Implicit"][1:]),
    }


def _tls(spec: Spec) -> dict[str, str]:
    return {
        "TLS_CERT_PATH": f"{TLS_FOLDER}/tls.crt",
        "TLS_KEY_PATH": f"{TLS_FOLDER}/tls.key",
        # 1.2 is the gateway's own floor (RFC 8996).
        "TLS_MIN_VERSION": _unless("1.2", spec.tls.min_version),
    }


def _api(spec: Spec) -> dict[str, str]:
    cakemail = spec.cakemail
    ref = cakemail.ca_config_map_ref
    return {
        "CAKEMAIL_API_URL": cakemail.api_url,
        "CAKEMAIL_AUTH_URL": cakemail.auth_url or "",
        "CAKEMAIL_MAX_CALLS": str(cakemail.max_concurrent_requests),
        "CAKEMAIL_CONNECT_TIMEOUT": _unless("5", str(cakemail.connect_timeout_seconds)),
        "CAKEMAIL_READ_TIMEOUT": _unless("30", str(cakemail.read_timeout_seconds)),
        "CAKEMAIL_CA_PATH": f"{CA_FOLDER}/{ref.key}" if ref else "",
    }


def _proxy(spec: Spec) -> dict[str, str]:
    proxies = spec.service.proxy_protocol
    return {"SMTP_PROXY_PEERS": ",".join(proxies.trusted_cidrs) if proxies.enabled else ""}


def _times(spec: Spec) -> dict[str, str]:
    limits, drain = spec.limits, spec.drain
    return {
        "SMTP_DEADLINE": str(limits.submission_deadline_seconds),
        "SMTP_PRE_STOP": str(drain.delay_seconds),
        "SMTP_GRACE": str(drain.grace_period_seconds),
    }
