"""SmtpGateway as its two descriptions have it: the CRD's YAML, and the typed model.

Both become one flat table from path to facts, so that they, and the documentation, can be compared
line by line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from smtp_operator.fleet.spec import Spec

ROOT = Path(__file__).parents[2]
CRD_FILE = ROOT / "crds" / "smtpgateways.yaml"
SAMPLES = ROOT / "manifests" / "samples"
RULES_FILE = ROOT / "tests" / "smtp_operator" / "rules.yaml"
API_VERSION = "smtp.cakemail.com/v1alpha1"
MINIMAL: Mapping[str, Any] = {"tls": {"selfSigned": {}}}

Schema = Mapping[str, Any]
COMPARED = (
    "type", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems",
    "maxItems", "maxProperties", "default", "x-kubernetes-int-or-string",
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What a description says of one field.

    Attributes:
        stated: of ``COMPARED``, those that it states.
        required: whether the field must be there when its block is.
        passed_on: it belongs to another API, and is not looked into.
    """

    stated: Mapping[str, Any]
    required: bool
    passed_on: bool


@dataclass(frozen=True)
class Example:
    """What a rule accepts or refuses."""

    message: str
    at: str
    reason: str
    name: str
    spec: Mapping[str, Any]
    accepted: bool

    def body(self) -> dict[str, Any]:
        """The whole object."""
        return gateway(self.name, self.spec)

    def __str__(self) -> str:
        """Its name in a list of tests."""
        return f"{self.at}-{'accepted' if self.accepted else 'refused'}-{self.name}"


def gateway(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A whole SmtpGateway."""
    return {
        "apiVersion": API_VERSION,
        "kind": "SmtpGateway",
        "metadata": {"name": name},
        "spec": dict(spec),
    }


@cache
def crd() -> dict[str, Any]:
    """The definition, as the API server gets it."""
    found: dict[str, Any] = yaml.safe_load(CRD_FILE.read_text(encoding="utf-8"))
    return found


def version() -> dict[str, Any]:
    """Its one version."""
    (only,) = crd()["spec"]["versions"]
    found: dict[str, Any] = only
    return found


def root_schema() -> Schema:
    """The schema of the whole object."""
    found: Schema = version()["schema"]["openAPIV3Schema"]
    return found


def spec_schema() -> Schema:
    """The schema of ``spec``."""
    found: Schema = root_schema()["properties"]["spec"]
    return found


def schemas(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Each schema in a schema with its path; ``[]`` is an entry of a list, ``{}`` of a map."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}")
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from schemas(schema["additionalProperties"], f"{path}{{}}")


def rules(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Each CEL rule in a schema with the path of what it stands on."""
    for path, inner in schemas(schema):
        for rule in inner.get("x-kubernetes-validations", []):
            yield path, rule


def examples() -> list[Example]:
    """All of ``rules.yaml``."""
    table = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
    return [
        Example(
            message=row["message"],
            at=row["at"],
            reason=row["reason"],
            name=case.get("name", f"example-{number}"),
            spec={**MINIMAL, **case.get("spec", {})},
            accepted=verdict == "accepted",
        )
        for row in table
        for verdict in ("accepted", "refused")
        for number, case in enumerate(row[verdict])
    ]


def samples() -> list[Path]:
    """Every file of ``manifests/samples``."""
    return sorted(SAMPLES.glob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    """The objects of one file."""
    return [found for found in yaml.safe_load_all(path.read_text(encoding="utf-8")) if found]


def said_by_model() -> dict[str, Facts]:
    """Path to facts, from the typed model."""
    whole = Spec.model_json_schema(by_alias=True)
    return dict(_walk(_resolved(whole, whole["$defs"]), passed_on=frozenset()))


def said_by_crd() -> dict[str, Facts]:
    """Path to facts, from the YAML; not looked into where the model does not."""
    passed_on = frozenset(path for path, facts in said_by_model().items() if facts.passed_on)
    return dict(_walk(spec_schema(), passed_on))


def _walk(
    schema: Schema, passed_on: frozenset[str], path: str = "", *, required: bool = False
) -> Iterator[tuple[str, Facts]]:
    foreign = path in passed_on or schema.get("additionalProperties") is True
    if path:
        stated = {word: schema[word] for word in COMPARED if word in schema}
        yield path, Facts(stated, required, foreign)
    if foreign:
        return
    for name, inner in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield from _walk(inner, passed_on, below, required=name in schema.get("required", []))
    for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(word), Mapping):
            yield from _walk(schema[word], passed_on, path + mark)


def _resolved(schema: Schema, parts: Schema) -> dict[str, Any]:
    """As the YAML would say it: references followed, absence not spelt ``null``."""
    found = dict(schema)
    if "$ref" in found:
        found = {**parts[found.pop("$ref").rpartition("/")[2]], **found}
    if "anyOf" in found:  # pydantic's words for a field that may be absent
        (only,) = (choice for choice in found.pop("anyOf") if choice != {"type": "null"})
        found = {**_resolved(only, parts), **found}
    if "properties" in found:
        inner = found["properties"].items()
        found["properties"] = {name: _resolved(part, parts) for name, part in inner}
    for word in ("items", "additionalProperties"):
        if isinstance(found.get(word), Mapping):
            found[word] = _resolved(found[word], parts)
    if "default" in found:
        found |= {"default": _default(found)}
        if found["default"] is None:
            del found["default"]
    return found


def _stated(entry: Any) -> Any:
    """An entry of a list, without the fields that an object leaves open."""
    if not isinstance(entry, dict):
        return entry
    return {key: value for key, value in entry.items() if value is not None}


def _default(schema: Schema) -> Any:
    """Of a block ``{}``, as its fields have their own; None where nothing is the default."""
    given = schema["default"]
    if "properties" in schema:
        return None if given is None else {}
    if isinstance(given, list):
        given = [_stated(entry) for entry in given]
    return None if given in ([], {}) else given
