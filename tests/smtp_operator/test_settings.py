"""Start-up settings: defaults, faults in one line each."""

from __future__ import annotations

import pytest

from smtp_operator.errors import ConfigurationError
from smtp_operator.settings import Settings, load

FORM = "has not the form that the documentation gives"
REQUIRED = {"GATEWAY_IMAGE": "registry.test/gateway:1", "POD_NAMESPACE": "smtp-operator"}


def settings(**variables: str) -> Settings:
    """Settings with these variables beside the required ones."""
    return load(REQUIRED | variables)[0]


def problems(**variables: str) -> list[str]:
    """The lines that stop the start."""
    with pytest.raises(ConfigurationError) as refused:
        load(REQUIRED | variables)
    return refused.value.problems


def test_only_image_and_namespace_are_required() -> None:
    """The defaults are those of the documentation."""
    made = settings()
    assert made.clusterwide
    assert not made.secrets_watched
    assert (made.lease_name, made.http_port, made.log_level) == ("smtp-operator", 8080, "INFO")
    assert (made.operator_requests_per_second, made.operator_requests_burst) == (50, 100)
    assert (made.operator_workers, made.resync_seconds) == (8, 600)
    assert (made.rollout_budget_percent, made.rollout_soak_seconds) == (10, 300)
    with pytest.raises(ConfigurationError) as refused:
        load({})
    assert refused.value.problems == ["GATEWAY_IMAGE: is required", "POD_NAMESPACE: is required"]


def test_named_namespaces_make_secrets_watched() -> None:
    """There a right to watch Secrets reaches no further than those namespaces."""
    made = settings(WATCH_NAMESPACES="mail, shop")
    assert made.watch_namespaces == ("mail", "shop")
    assert (made.clusterwide, made.secrets_watched) == (False, True)
    assert made.look_again_seconds == 600


def test_without_a_watch_of_secrets_gateways_are_looked_at_more_often() -> None:
    """Every five minutes, as nobody tells of a changed Secret."""
    assert settings().look_again_seconds == 300
    assert settings(WATCH_SECRETS="true").look_again_seconds == 600


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("HTTP_PORT", "many", "HTTP_PORT: must be a whole number"),
        ("WATCH_NAMESPACES", "Mail", f"WATCH_NAMESPACES: {FORM}"),
        ("WATCH_SELECTOR", "a in (b)", f"WATCH_SELECTOR: {FORM}"),
        ("OPERATOR_WORKERS", "1", "OPERATOR_WORKERS: must be greater than or equal to 2"),
        ("OPERATOR_WORKER", "4", "OPERATOR_WORKER: is unknown; did you mean OPERATOR_WORKERS?"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_without_its_value(name: str, value: str, line: str) -> None:
    """What to correct, and where."""
    assert problems(**{name: value}) == [line]


def test_foreign_variables_are_left_alone() -> None:
    """Other programs' conventions, and what a Service link puts into a pod."""
    _, notes = load(
        REQUIRED
        | {"REQUESTS_CA_BUNDLE": "/x", "KUBERNETES_SERVICE_HOST": "10.0.0.1",
           "GATEWAY_PORT": "tcp://10.0.0.1:587"}
    )  # fmt: skip
    assert notes == ["GATEWAY_PORT comes from a Kubernetes service link and is left aside"]


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ("", {}, True),
        ("ring=canary", {"ring": "canary"}, True),
        ("ring=canary", {"ring": "late"}, False),
        ("ring!=canary", {}, True),
        ("ring!=canary", {"ring": "canary"}, False),
        ("ring", {"ring": ""}, True),
        ("!ring", {"ring": ""}, False),
        ("ring=canary,!old", {"ring": "canary"}, True),
        ("ring=canary,!old", {"ring": "canary", "old": "1"}, False),
    ],
)
def test_a_selector_selects_as_the_api_server_does(
    selector: str, labels: dict[str, str], *, selected: bool
) -> None:
    """A gateway that lost the label is another operator's."""
    assert settings(WATCH_SELECTOR=selector).selects(labels) is selected


def test_every_setting_is_shown_at_start() -> None:
    """One ``NAME=value`` each."""
    lines = settings(WATCH_NAMESPACES="mail shop").lines()
    assert "WATCH_NAMESPACES=mail,shop" in lines
    assert "WATCH_SECRETS=" in lines
    assert "ROLLOUT_HOLD=false" in lines
    assert len(lines) == len(Settings.model_fields)
