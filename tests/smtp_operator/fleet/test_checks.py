"""ConfigAccepted, CredentialsReady, Progressing, Paused: one chain each."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.fleet.checks import CHAINS
from smtp_operator.fleet.conditions import ConditionType, Reason
from smtp_operator.fleet.decision import Failure
from smtp_operator.fleet.draft import Word
from smtp_operator.fleet.model import Ref
from tests.support.fleets import a_gateway, condition, decided, running, some_facts

CA = {"caConfigMapRef": {"name": "private-ca"}}


def test_every_condition_has_exactly_one_chain() -> None:
    """Ready is made of the others."""
    assert set(CHAINS) | {ConditionType.READY} == set(ConditionType)
    kinds = [item.type for item in decided(a_gateway(), some_facts()).conditions]
    assert sorted(kinds) == sorted(ConditionType)


def test_an_accepted_spec_is_accepted() -> None:
    """Nothing speaks against it."""
    assert condition(decided(a_gateway(), some_facts()), "ConfigAccepted")[:2] == (
        "True",
        "Accepted",
    )


def test_a_taken_name_is_told_with_its_kind() -> None:
    """And what to do about it."""
    facts = some_facts(strangers=frozenset({Ref("Service", "mail")}))
    assert condition(decided(a_gateway(), facts), "ConfigAccepted") == (
        "False",
        "NameConflict",
        (
            "Service mail belongs to somebody else and is left untouched; delete or rename it, or "
            "give this SmtpGateway another name"
        ),
    )


def test_a_stranger_under_a_name_that_is_not_used_is_no_conflict() -> None:
    """It may have been used before an edit."""
    facts = some_facts(strangers=frozenset({Ref("HorizontalPodAutoscaler", "mail")}))
    assert condition(decided(a_gateway(), facts), "ConfigAccepted")[0] == "True"


def test_a_stranger_met_while_applying_is_a_conflict() -> None:
    """Observing did not see it."""
    met = Failure(Ref("Secret", "mail-ca"), Reason.NAME_CONFLICT, "taken")
    made = decided(a_gateway(), some_facts(), failures=[met])
    status, reason, message = condition(made, "ConfigAccepted")
    assert (status, reason) == ("False", "NameConflict")
    assert message.startswith("Secret mail-ca belongs to somebody else")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            None,
            (
                "ConfigMap private-ca (named by spec.cakemail.caConfigMapRef) does not exist; "
                "create it in this namespace"
            ),
        ),
        (
            {"other": "x"},
            (
                "ConfigMap private-ca (named by spec.cakemail.caConfigMapRef) has no key ca.crt; "
                "add it"
            ),
        ),
    ],
)
def test_a_missing_private_ca_stops_rendering(found: Any, message: str) -> None:
    """Pods that cannot trust the API would only fail later."""
    facts = some_facts(config_maps={"private-ca": found})
    made = decided(a_gateway(cakemail=CA), facts)
    assert condition(made, "ConfigAccepted") == ("False", "ReferenceNotFound", message)
    assert not made.proceed


def test_a_refused_deployment_is_told() -> None:
    """The edit has not taken effect; what else was refused is Degraded's to tell."""
    refusal = Failure(Ref("Deployment", "mail"), Reason.APPLY_FAILED, "bad toleration")
    made = decided(a_gateway(), some_facts(), failures=[refusal])
    assert condition(made, "ConfigAccepted") == (
        "False",
        "ApplyFailed",
        "Deployment mail was not applied, so pods stay as they are: bad toleration",
    )
    refusal = Failure(Ref("Service", "mail"), Reason.APPLY_FAILED, "port is taken")
    made = decided(a_gateway(), some_facts(), failures=[refusal])
    assert condition(made, "ConfigAccepted")[0] == "True"


def test_a_template_that_a_dry_run_refused_is_told() -> None:
    """In the API server's words; it is tried again, as a policy may have been the cause."""
    refusal = Failure(Ref("Deployment", "mail"), Reason.POD_TEMPLATE_REJECTED, "unknown field")
    made = decided(a_gateway(), some_facts(), failures=[refusal])
    assert condition(made, "ConfigAccepted") == (
        "False",
        "PodTemplateRejected",
        "the cluster refuses the pods, look at spec.podTemplate: unknown field",
    )
    assert made.proceed


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (None, ("False", "SecretNotFound")),
        ({}, ("False", "KeyMissing")),
        ({".dockerconfigjson": b"{}"}, ("True", "Found")),
        ({".dockercfg": b"{}"}, ("True", "Found")),
    ],
)
def test_pull_secrets_are_looked_at(found: Any, wanted: tuple[str, str]) -> None:
    """Both forms that the kubelet reads will do."""
    made = decided(
        a_gateway(imagePullSecrets=["registry"]), some_facts(secrets={"registry": found})
    )
    assert condition(made, "CredentialsReady")[:2] == wanted


def test_a_missing_credential_stops_nothing() -> None:
    """Running pods have theirs, and new ones start when it comes."""
    made = decided(a_gateway(imagePullSecrets=["registry"]), some_facts(secrets={"registry": None}))
    assert made.proceed


@pytest.mark.parametrize(
    ("more", "spec", "wanted"),
    [
        ({}, {}, ("False", "RolloutComplete")),
        ({"revision": "1"}, {}, ("False", "RolloutWaiting")),
        ({"revision": "1"}, {"rollout": {"onOperatorUpgrade": "Hold"}}, ("False", "RolloutHeld")),
        ({"revision": "1", "inputs": "1"}, {}, ("True", "RolloutProgressing")),
        ({"progress": "ReplicaSetUpdated"}, {}, ("True", "RolloutProgressing")),
        ({"progress": "ProgressDeadlineExceeded"}, {}, ("False", "RolloutFailed")),
        ({"revision": "1", "inputs": "1"}, {"paused": True}, ("False", "NotEvaluated")),
    ],
)
def test_progressing_says_where_a_rollout_stands(
    more: dict[str, Any], spec: dict[str, Any], wanted: tuple[str, str]
) -> None:
    """One reason for each state."""
    gateway = a_gateway(status={"currentRevision": "1"}, **spec)
    facts = running(gateway, some_facts(), **more)
    assert condition(decided(gateway, facts, word=Word(turn=False)), "Progressing")[:2] == wanted


def test_the_way_out_of_a_hold_names_the_revision() -> None:
    """So that it can be copied."""
    gateway = a_gateway(rollout={"onOperatorUpgrade": "Hold"})
    facts = running(gateway, some_facts(), revision="1")
    made = decided(gateway, facts)
    _, _, message = condition(made, "Progressing")
    assert f"smtp.cakemail.com/approve={made.draft.target_revision}" in message


def test_a_fleet_that_never_ran_is_starting() -> None:
    """Not rolling."""
    assert condition(decided(a_gateway(), some_facts()), "Progressing")[:2] == (
        "True",
        "FirstStart",
    )


@pytest.mark.parametrize(
    ("paused", "wanted"), [(True, ("True", "Paused")), (False, ("False", "NotPaused"))]
)
def test_paused_repeats_the_spec(*, paused: bool, wanted: tuple[str, str]) -> None:
    """One field, one meaning."""
    assert condition(decided(a_gateway(paused=paused), some_facts()), "Paused")[:2] == wanted
