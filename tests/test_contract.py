"""What the operator gives, the gateway takes: the only module that imports both programs.

Each golden case of the operator is read by the gateway's own code: variables, live file, ports,
paths, metrics. A setting that is renamed on one side alone fails here, not in a pod.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from smtp_gateway import settings as gateway_settings
from smtp_gateway.live import LiveFile
from smtp_gateway.settings import LIVE_NAMES, Settings
from smtp_gateway.telemetry import Metrics
from smtp_operator.fleet.draft import Draft
from smtp_operator.fleet.model import Object
from smtp_operator.resources import rendering
from smtp_operator.resources.live import content_hash
from smtp_operator.resources.monitor import ALERTS
from smtp_operator.resources.variables import CA_FOLDER, LIVE_FILE, LIVE_FOLDER, TLS_FOLDER
from tests.smtp_operator.test_golden import CASES, FOLDER, load_facts, load_gateway
from tests.support.fleets import NOW, a_gateway, some_facts


def drafted(name: str) -> Draft:
    """What would reach the pods of a golden case."""
    case: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.in.yaml").read_text())
    gateway = load_gateway(case)
    return rendering.draft(gateway, load_facts(case, gateway))


def loaded(draft: Draft, tmp_path: Path) -> Settings:
    """The settings that a pod runs with: variables, then the live file on top."""
    file = tmp_path / LIVE_FILE
    file.write_text(draft.live, encoding="utf-8")
    taken: list[Settings] = []
    live = LiveFile(file, draft.start, accept=taken.append, on_refused=lambda _: None)
    live.load()
    (found,) = taken
    return found


def container(draft: Draft) -> Object:
    """The gateway's container."""
    found: Object = draft.template["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_gateway_starts_with_the_variables_and_nothing_is_left_aside(name: str) -> None:
    """An unknown or malformed one would stop every pod."""
    _, notes = gateway_settings.load(drafted(name).start)
    assert notes == []


@pytest.mark.parametrize("name", CASES)
def test_the_gateway_takes_the_live_file(name: str, tmp_path: Path) -> None:
    """Whole: one setting that cannot change while it runs would refuse all."""
    draft = drafted(name)
    names = {line.partition("=")[0] for line in draft.live.splitlines()}
    assert names <= LIVE_NAMES
    assert names.isdisjoint(draft.start)
    assert loaded(draft, tmp_path).cakemail_api_url


@pytest.mark.parametrize("name", CASES)
def test_the_gateway_listens_where_the_container_says(name: str, tmp_path: Path) -> None:
    """Else the Service would lead to a closed port."""
    draft = drafted(name)
    found = loaded(draft, tmp_path)
    open_ports = [*found.smtp_ports, *found.tls_ports, found.http_port]
    assert sorted(open_ports) == sorted(p["containerPort"] for p in container(draft)["ports"])
    assert min(open_ports) >= 1024


def test_every_field_arrives(tmp_path: Path) -> None:
    """The case with another value for each: what the gateway makes of it, written out."""
    found = loaded(drafted("everything"), tmp_path).model_dump(mode="json")
    expected = {
        "cakemail_api_url": "https://api.example.com:8443",
        "cakemail_auth_url": "https://login.example.com/token",
        "cakemail_ca_path": f"{CA_FOLDER}/root.pem",
        "cakemail_list_id": 12,
        "cakemail_email_type": "marketing",
        "cakemail_fallback_sender_id": "77",
        "cakemail_tags": ["a", "b"],
        "cakemail_track_opens": True,
        "cakemail_track_clicks_html": True,
        "cakemail_track_clicks_text": True,
        "cakemail_max_calls": 50,
        "smtp_hostname": "smtp.example.com",
        "smtp_port": 2587,
        "smtp_extra_ports": [2525, 2025],
        "smtps_port": 2465,
        "smtps_extra_ports": [4650],
        "smtp_line_endings": "strict",
        "smtp_live_path": f"{LIVE_FOLDER}/{LIVE_FILE}",
        "smtp_max_recipients": 5,
        "smtp_messages_per_connection": 10,
        "smtp_deadline": 20.0,
        "smtp_pre_stop": 10.0,
        "smtp_grace": 60.0,
        "smtp_proxy_peers": ["10.0.0.0/8"],
        "http_port": 8080,
        "tls_cert_path": f"{TLS_FOLDER}/tls.crt",
        "tls_key_path": f"{TLS_FOLDER}/tls.key",
        "tls_min_version": "1.3",
        "log_level": "DEBUG",
        "log_client_address": "network",
        "rate_limit_per_ip": 7,
        "max_connections_per_pod": 200,
        "connection_timeout": 60.0,
        "message_size_limit": 1_048_576,
    }
    assert {name: found[name] for name in expected} == expected


def test_the_rest_has_no_field_and_stays_at_its_default(tmp_path: Path) -> None:
    """Settings that only ``podTemplate`` reaches; one that gets a field leaves this list."""
    draft = drafted("everything")
    given = set(draft.start) | {line.partition("=")[0] for line in draft.live.splitlines()}
    assert {name.upper() for name in Settings.model_fields} - given == {
        "HTTP_HOST",
        "SMTP_HOST",
        "SMTP_MEMORY_LIMIT",
        "SMTP_PROXY_PORTS",
    }


def test_every_default_of_the_schema_is_one_that_the_gateway_takes(tmp_path: Path) -> None:
    """And most are the gateway's own, so that a bare pod and a fleet behave alike."""
    draft = rendering.draft(a_gateway(), some_facts())
    found = loaded(draft, tmp_path)
    own, _ = gateway_settings.load({"CAKEMAIL_API_URL": "https://api.cakemail.dev"})
    differing = {
        name for name in Settings.model_fields if getattr(found, name) != getattr(own, name)
    }
    assert differing == {
        "cakemail_max_calls",  # of many pods, each takes less
        "smtp_hostname",
        "smtp_live_path",
        "smtp_port",  # without a capability
        "smtps_port",
    }


def test_the_hash_in_the_status_is_the_one_that_pods_export(tmp_path: Path) -> None:
    """First 48 bits of the file's SHA-256, on both sides."""
    draft = drafted("settled")
    file = tmp_path / LIVE_FILE
    file.write_text(draft.live, encoding="utf-8")
    live = LiveFile(file, draft.start, accept=lambda _: None, on_refused=lambda _: None)
    live.load()
    assert live.digest[:12] == content_hash(draft.live) == draft.config_hash


def test_every_metric_of_an_alert_is_one_of_the_gateway_s() -> None:
    """An alert on a name that nobody exports never fires."""
    registry = CollectorRegistry()
    Metrics(registry)
    exported = {sample.name for family in registry.collect() for sample in family.samples}
    named = {name for alert in ALERTS for name in re.findall(r"\bsmtp_\w+", alert.expr)}
    assert named - exported == set()


def test_certificate_and_key_stand_where_the_gateway_looks() -> None:
    """A Secret of type kubernetes.io/tls, mounted as a folder."""
    found, _ = gateway_settings.load(rendering.draft(a_gateway(), some_facts(now=NOW)).start)
    mounts = {m["name"]: m["mountPath"] for m in container(drafted("settled"))["volumeMounts"]}
    assert str(found.tls_cert_path) == f"{mounts['tls']}/tls.crt"
    assert str(found.tls_key_path) == f"{mounts['tls']}/tls.key"
    assert str(found.smtp_live_path) == f"{mounts['live']}/live.env"


@pytest.mark.parametrize("odd", ["it's", "back\\slash", "#1", '"quoted"'])
def test_any_sender_arrives_as_it_was_written(odd: str, tmp_path: Path) -> None:
    """Through the quotes of the live file and the gateway's reader."""
    draft = rendering.draft(a_gateway(cakemail={"defaultSenderId": odd}), some_facts())
    assert loaded(draft, tmp_path).cakemail_fallback_sender_id == odd
