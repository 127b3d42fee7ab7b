"""The CRD and the typed model say the same, and the CRD keeps the rules of its own making."""

from __future__ import annotations

from smtp_operator.fleet.rules import NAME_MESSAGE, RULES
from tests.support.smtpgateway import (
    CRD_FILE,
    crd,
    examples,
    root_schema,
    rules,
    said_by_crd,
    said_by_model,
    schemas,
    spec_schema,
    version,
)

# The API server says this one in its own words, as the list is a map by name.
NOT_A_RULE = "two listeners have the same name"


def test_every_field_of_the_crd_is_in_the_model_with_the_same_facts() -> None:
    """Type, bounds, choices, default and whether it is required are the model's."""
    model = said_by_model()

    assert [path for path, facts in said_by_crd().items() if model.get(path) != facts] == []


def test_every_field_of_the_model_is_in_the_crd_with_the_same_facts() -> None:
    """Type, bounds, choices, default and whether it is required are the CRD's."""
    yaml = said_by_crd()

    assert [path for path, facts in said_by_model().items() if yaml.get(path) != facts] == []


def test_the_comparison_sees_every_kind_of_fact() -> None:
    """Some facts written out, so that the comparison cannot become one of nothing with nothing."""
    said = said_by_crd()

    assert said["replicas"].stated == {
        "type": "integer", "minimum": 0, "maximum": 200, "default": 2,
    }  # fmt: skip
    assert said["tls"].required
    assert not said["cakemail"].required
    assert said["cakemail"].stated == {"type": "object", "default": {}}
    assert said["logging.level"].stated["enum"] == ["debug", "info", "warning", "error"]
    assert said["listeners[].name"].stated["maxLength"] == 15
    assert said["listeners"].stated["default"][1]["port"] == 465
    assert said["resources.limits{}"].stated["x-kubernetes-int-or-string"] is True
    assert said["scheduling.affinity"].passed_on
    assert "scheduling.affinity.nodeAffinity" not in said
    assert len(said) > 120


def test_names_and_subresources_are_those_that_people_type() -> None:
    """What stands after kubectl: get smtpgw, get cakemail, scale."""
    names = crd()["spec"]["names"]

    assert crd()["metadata"]["name"] == "smtpgateways.smtp.cakemail.com"
    assert names["kind"] == "SmtpGateway"
    assert names["shortNames"] == ["smtpgw"]
    assert names["categories"] == ["cakemail"]
    assert crd()["spec"]["scope"] == "Namespaced"
    assert version()["name"] == "v1alpha1"
    assert version()["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }


def test_the_columns_are_few_and_the_rest_is_wide() -> None:
    """What kubectl prints, and what it adds with -o wide."""
    columns = version()["additionalPrinterColumns"]

    assert [c["name"] for c in columns if not c.get("priority")] == [
        "Ready", "Reason", "Pods", "Address", "Age",
    ]  # fmt: skip
    assert [c["name"] for c in columns if c.get("priority")] == [
        "Image", "Revision", "Cert-Until", "Paused",
    ]  # fmt: skip
    assert next(c["type"] for c in columns if c["name"] == "Cert-Until") == "string"


def test_every_field_has_a_description() -> None:
    """Then kubectl explain leaves no field without a word."""
    silent = [
        f"{path}.{name}"
        for path, schema in schemas(root_schema())
        for name, inner in schema.get("properties", {}).items()
        if not inner.get("description") and name != "metadata"
    ]
    assert silent == []


def test_every_text_list_and_map_has_an_upper_bound() -> None:
    """The API server refuses rules whose cost it cannot bound."""
    unbounded = [
        path
        for path, schema in schemas(root_schema())
        if (schema.get("type") == "string" and not {"enum", "maxLength"} & schema.keys())
        or (schema.get("type") == "array" and "maxItems" not in schema)
        or ("additionalProperties" in schema and "maxProperties" not in schema)
    ]
    assert unbounded == []


def test_the_pod_template_is_the_only_hole() -> None:
    """Everywhere else an unknown field is refused, or dropped."""
    holes = [
        path
        for path, schema in schemas(root_schema())
        if "x-kubernetes-preserve-unknown-fields" in schema
    ]
    assert holes == [".spec.podTemplate.spec"]


def test_every_rule_has_a_twin_in_python_with_the_same_message() -> None:
    """The reconciler says what the API server says."""
    in_yaml = {rule["message"] for _, rule in rules(root_schema())}
    in_python = {message for message, _ in RULES} | {NAME_MESSAGE}

    assert in_python - in_yaml == {NOT_A_RULE}
    assert in_yaml - in_python == set()


def test_every_rule_says_why_in_a_word_and_has_examples() -> None:
    """A reason for programs, a passing and a refused example in rules.yaml."""
    accepted = {example.message for example in examples() if example.accepted}
    refused = {example.message for example in examples() if not example.accepted}

    for path, rule in rules(root_schema()):
        assert rule["reason"].startswith("FieldValue"), path
        assert rule["message"] in accepted, path
        assert rule["message"] in refused, path


def test_every_example_belongs_to_a_rule() -> None:
    """An example of a rule that is gone goes too."""
    assert {e.message for e in examples()} == {r["message"] for _, r in rules(root_schema())}


def test_the_status_has_what_the_operator_reports() -> None:
    """The fields that clients and columns read."""
    status = root_schema()["properties"]["status"]["properties"]

    assert set(status) == {
        "observedGeneration", "conditions", "replicas", "readyReplicas", "updatedReplicas",
        "selector", "image", "currentRevision", "targetRevision", "configHash", "address",
        "endpoints", "tls", "rollout",
    }  # fmt: skip
    assert status["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    assert spec_schema()["properties"]["listeners"]["x-kubernetes-list-map-keys"] == ["name"]


def test_the_crd_stays_small() -> None:
    """Below 100 KB; an annotation of kubectl's, where it is asked for, ends at 256 KiB."""
    assert CRD_FILE.stat().st_size < 128_000
