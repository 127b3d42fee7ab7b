"""Samples are what people copy: each is right, says only what the schema knows, and is alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from smtp_operator.fleet.spec import check_name, read_spec
from tests.support.smtpgateway import (
    API_VERSION,
    Schema,
    documents,
    root_schema,
    said_by_model,
    samples,
)

every_sample = pytest.mark.parametrize("sample", samples(), ids=lambda path: str(path.name))


def unknown(value: Any, schema: Schema, path: str) -> Iterator[str]:
    """Paths in an object that its schema does not have."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or path == "metadata":
        return
    if isinstance(value, Mapping) and "additionalProperties" not in schema:
        for name, inner in value.items():
            below = f"{path}.{name}".removeprefix(".")
            if name in schema.get("properties", {}):
                yield from unknown(inner, schema["properties"][name], below)
            else:
                yield below
    if isinstance(value, list):
        for entry in value:
            yield from unknown(entry, schema["items"], f"{path}[]")


@every_sample
def test_a_sample_is_valid(sample: Path) -> None:
    """The model reads it, and no field is unknown."""
    (body,) = documents(sample)

    assert (body["apiVersion"], body["kind"]) == (API_VERSION, "SmtpGateway")
    check_name(body["metadata"]["name"])
    read_spec(body["spec"])
    assert list(unknown(body, root_schema(), "")) == []


@every_sample
def test_a_sample_says_what_it_is_for(sample: Path) -> None:
    """A comment comes first."""
    assert sample.read_text(encoding="utf-8").startswith("# ")


def test_an_unknown_field_would_be_found() -> None:
    """The check above sees a misspelt field, at any depth."""
    body = {"kind": "SmtpGateway", "spec": {"tls": {"dnsName": []}, "listeners": [{"prot": 25}]}}

    assert list(unknown(body, root_schema(), "")) == ["spec.tls.dnsName", "spec.listeners[].prot"]


def test_samples_can_be_applied_together() -> None:
    """No two have one name."""
    names = [body["metadata"]["name"] for sample in samples() for body in documents(sample)]

    assert len(names) == len(set(names))
    assert len(names) >= 9


def test_the_smallest_sample_is_the_smallest_spec() -> None:
    """What README applies first."""
    (body,) = (body for path in samples() if path.name == "smtpgateway.yaml"
               for body in documents(path))  # fmt: skip

    assert body["spec"] == {"tls": {"selfSigned": {}}}
    assert [p for p, facts in said_by_model().items() if facts.required and "." not in p] == ["tls"]
