"""What the operator writes into ``status`` is what the CRD has there: the rest would be dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.smtpgateway import Schema, root_schema

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.out.yaml"))
STATUS: Schema = root_schema()["properties"]["status"]


def closed(schema: Schema) -> dict[str, Any]:
    """The schema with unknown fields refused, as the API server drops them in silence."""
    found = dict(schema)
    if "properties" in found:
        inner = found["properties"].items()
        found["properties"] = {name: closed(part) for name, part in inner}
        found["additionalProperties"] = False
    if "items" in found:
        found["items"] = closed(found["items"])
    return found


@pytest.mark.parametrize("case", GOLDEN, ids=lambda path: str(path.name))
def test_the_status_of_a_golden_case_fits(case: Path) -> None:
    """No field is unknown, none has another type, none is too long."""
    status = yaml.safe_load(case.read_text(encoding="utf-8"))["status"]

    assert status
    jsonschema.validate(status, closed(STATUS))


def test_an_unknown_field_of_status_would_be_found() -> None:
    """At any depth."""
    with pytest.raises(jsonschema.ValidationError, match="notbefore"):
        jsonschema.validate({"tls": {"notbefore": ""}}, closed(STATUS))
