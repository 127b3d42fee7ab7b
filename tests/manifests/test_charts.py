"""The Helm charts as files: what can be held against the program without rendering them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from smtp_operator import __version__
from smtp_operator.settings import SELECTOR, Settings
from tests.support.installs import MANIFESTS
from tests.support.smtpgateway import CRD_FILE

OPERATOR = MANIFESTS / "helm" / "smtp-operator"
CRDS = MANIFESTS / "helm" / "smtp-operator-crds"


@pytest.mark.parametrize("chart", [OPERATOR, CRDS], ids=lambda path: str(path.name))
def test_a_chart_has_the_version_of_the_program(chart: Path) -> None:
    """The image's tag is the chart's appVersion."""
    facts = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))

    assert (facts["version"], facts["appVersion"]) == (__version__, __version__)


# Variables that the chart sets by values of their own, or that would contradict its ports.
NOT_FREE = frozenset({
    "GATEWAY_IMAGE", "POD_NAMESPACE", "POD_NAME", "LEASE_NAME", "WATCH_NAMESPACES",
    "WATCH_SECRETS", "WATCH_SELECTOR", "HTTP_HOST", "HTTP_PORT",
})  # fmt: skip


def test_the_schema_knows_every_setting() -> None:
    """A setting that is added to the program can be set by the chart."""
    schema = json.loads((OPERATOR / "values.schema.json").read_text(encoding="utf-8"))
    allowed = schema["properties"]["settings"]["properties"]

    assert set(allowed) == {name.upper() for name in Settings.model_fields} - NOT_FREE


def test_the_schema_knows_every_value_and_no_other() -> None:
    """values.yaml is the list that people read."""
    schema = json.loads((OPERATOR / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((OPERATOR / "values.yaml").read_text(encoding="utf-8"))

    assert set(schema["properties"]) == {*values, "global"}
    for name, inner in schema["properties"].items():
        if "properties" in inner and name != "settings":
            assert set(inner["properties"]) == set(values[name]), name


def test_the_schema_takes_the_selectors_that_the_program_takes() -> None:
    """One pattern, in two files."""
    schema = json.loads((OPERATOR / "values.schema.json").read_text(encoding="utf-8"))

    assert schema["properties"]["watchSelector"]["pattern"] == SELECTOR


def test_the_crd_chart_holds_no_copy_of_the_definition() -> None:
    """Its file is a link to the only one, so that the two cannot differ."""
    assert (CRDS / "files" / CRD_FILE.name).resolve() == CRD_FILE
