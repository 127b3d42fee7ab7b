"""Golden cases of the operator: an SmtpGateway and the cluster in, decision and objects out.

``golden/<case>.in.yaml`` holds the user's object and, shortly, what the cluster holds;
``golden/<case>.out.yaml`` all that follows. ``pytest tests/smtp_operator/test_golden.py
--update-golden`` rewrites the results from what the code does now; read the difference before you
commit it. Data of Secrets is not shown, only its keys.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from smtp_operator.fleet.decision import Decision
from smtp_operator.fleet.draft import Word
from smtp_operator.fleet.model import Facts, Gateway, Object, Ref
from smtp_operator.fleet.names import TEMPLATE
from smtp_operator.resources.rendering import draft, render
from tests.support.certificates import FixedKeys, user_pair
from tests.support.fleets import (
    NOW,
    a_gateway,
    decided,
    issued_secrets,
    running,
    some_facts,
)

FOLDER = Path(__file__).parent / "golden"
CASES = sorted(path.name.removesuffix(".in.yaml") for path in FOLDER.glob("*.in.yaml"))


class _Dumper(yaml.SafeDumper):
    """No anchors: an object that stands twice is shown twice."""

    def ignore_aliases(self, data: Any) -> bool:  # the base says it
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
    )


_Dumper.add_representer(str, _text)


def load_gateway(case: dict[str, Any]) -> Gateway:
    """The user's object."""
    made = case["gateway"]
    metadata = made["metadata"]
    return a_gateway(
        metadata["name"],
        generation=metadata.get("generation", 1),
        annotations=metadata.get("annotations"),
        status=made.get("status"),
        **{"tls": {"selfSigned": {}}, **made["spec"]},
    )


def load_facts(case: dict[str, Any], gateway: Gateway) -> Facts:
    """The cluster: short words for what tests need often, see the cases."""
    stated = dict(case.get("facts", {}))
    facts = some_facts(
        config_maps=stated.get("configMaps", {}),
        kinds=frozenset(stated.get("kinds", some_facts().kinds)),
        strangers=frozenset(Ref(*ref) for ref in stated.get("strangers", ())),
    )
    secrets: dict[str, Any] = {
        name: user_pair(pair["names"], NOW, days=pair.get("days", 90))
        for name, pair in stated.get("pairs", {}).items()
    }
    if stated.get("issued"):
        secrets |= issued_secrets(gateway, facts)
    secrets |= dict.fromkeys(stated.get("missingSecrets", ()))
    facts = replace(facts, secrets=secrets)
    if "running" in stated:
        facts = running(gateway, facts, **stated["running"])
    extra = {Ref(o["kind"], o["metadata"]["name"]): o for o in stated.get("children", ())}
    return replace(facts, children={**facts.children, **extra})


def shown(decision: Decision, objects: list[Object]) -> dict[str, Any]:
    """What a golden file holds."""
    return {
        "decision": {
            "proceed": decision.proceed,
            "change": str(decision.change),
            "hold": decision.hold,
            "replicas": {
                "sent": decision.replicas.sent,
                "handover": decision.replicas.handover,
                "autoscalerFirst": decision.replicas.autoscaler_first,
            },
            "issueCertificate": decision.issue_certificate,
            "keep": [list(ref) for ref in sorted(decision.keep)],
            "requeueSeconds": decision.requeue_seconds,
        },
        "status": decision.status,
        "objects": [_without_template_s_note(_without_secrets(item)) for item in objects],
    }


def _without_secrets(item: Object) -> Object:
    if item["kind"] != "Secret":
        return item
    return {**item, "data": dict.fromkeys(item["data"], "(hidden)")}


def _without_template_s_note(item: Object) -> Object:
    """The annotation that says the template once more."""
    meta = item["metadata"]
    if TEMPLATE not in meta.get("annotations", {}):
        return item
    assert json.loads(meta["annotations"][TEMPLATE]) == item["spec"]["template"]
    noted = {**meta["annotations"], TEMPLATE: "(the template)"}
    return {**item, "metadata": {**meta, "annotations": noted}}


def produce(case: dict[str, Any]) -> dict[str, Any]:
    """Decide and render one case."""
    gateway = load_gateway(case)
    facts = load_facts(case, gateway)
    decision = decided(gateway, facts, word=Word(turn=case.get("turn", True)))
    objects = render(gateway, facts, decision, FixedKeys()) if decision.proceed else []
    return shown(decision, objects)


@pytest.mark.parametrize("name", CASES)
def test_a_fleet_becomes_what_stands_beside_it(name: str, pytestconfig: pytest.Config) -> None:
    """Every field of decision, status and objects is as written out."""
    case = yaml.safe_load((FOLDER / f"{name}.in.yaml").read_text())
    made = produce(case)
    expected = FOLDER / f"{name}.out.yaml"
    if pytestconfig.getoption("--update-golden"):
        text = yaml.dump(made, Dumper=_Dumper, sort_keys=False, width=100)
        expected.write_text(text)
    assert made == yaml.safe_load(expected.read_text())


def test_every_result_has_its_case() -> None:
    """No expected result is left over from a case that is gone, and the cases are many."""
    results = {path.name.removesuffix(".out.yaml") for path in FOLDER.glob("*.out.yaml")}
    assert results == set(CASES)
    assert len(CASES) >= 15


def test_no_case_needs_the_draft_twice() -> None:
    """Drafting the same case twice gives the same hashes: nothing depends on order or time."""
    for name in CASES:
        case = yaml.safe_load((FOLDER / f"{name}.in.yaml").read_text())
        gateway = load_gateway(case)
        facts = load_facts(case, gateway)
        assert draft(gateway, facts) == draft(gateway, facts)
