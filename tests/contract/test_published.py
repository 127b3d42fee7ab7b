"""``contract.json`` holds facts of the published document, and none of its prose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cakemail_sandbox.contract import published

OPERATIONS = {
    ("/token", "post"),
    ("/v2/emails", "post"),
    ("/v2/emails/{email_id}", "get"),
    ("/brands/default/senders", "get"),
    ("/brands/default/senders/{sender_id}", "get"),
    ("/lists", "get"),
    ("/lists/{list_id}", "get"),
    ("/accounts/self", "get"),
    ("/accounts/{account_id}", "get"),
    ("/logs/emails-summary", "get"),
}
PROSE = {"description", "summary", "title", "example", "examples", "externalDocs", "tags"}
# Below these keys stand names that somebody chose, not keywords.
NAMES = {"properties", "schemas", "paths", "responses", "content"}


def keywords(value: Any, *, names: bool = False) -> Iterator[tuple[str, Any]]:
    """Every keyword of the document with its value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not names:
                yield key, inner
            yield from keywords(inner, names=key in NAMES and not names)
    elif isinstance(value, list):
        for inner in value:
            yield from keywords(inner)


def test_the_contract_holds_the_operations_in_use() -> None:
    """These and no others."""
    found = {
        (path, method)
        for path, operations in published().document["paths"].items()
        for method in operations
    }

    assert found == OPERATIONS


def test_the_contract_holds_no_prose() -> None:
    """Two texts are demanded by OpenAPI: our own title, and descriptions, which are empty."""
    found = {
        (key, value)
        for key, value in keywords(published().document)
        if key in PROSE and value != ""
    }

    assert found == {("title", "Cakemail API, the part in use")}


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    """What nobody refers to would not be kept up to date."""
    document = published().document
    referred = {
        value.removeprefix("#/components/schemas/")
        for key, value in keywords(document)
        if key == "$ref"
    }

    assert referred == set(document["components"]["schemas"])


def test_every_schema_is_one() -> None:
    """By the meta-schema of its dialect."""
    for schema in published().document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "path", "expected"),
    [
        ("SubmitEmail", ("required",), ["sender", "content"]),
        ("EmailAPIEmailContent", ("required",), ["subject", "type"]),
        ("SubmitEmailType", ("enum",), ["marketing", "transactional"]),
        ("SubmitEmailAPIStatus", ("enum",), ["queued", "rejected", "error"]),
        (
            "Attachment",
            ("properties", "filename", "pattern"),
            r"^[a-zA-Z0-9-_]+\.(csv|doc|docx|ics|jpeg|pdf|png|xls|xlsx)$",
        ),
        (
            "AttachmentType",
            ("enum",),
            ["csv", "doc", "docx", "calendar", "jpeg", "pdf", "png", "xls", "xlsx"],
        ),
        ("EmailTracking", ("properties", "opens", "default"), True),
        ("Body_createToken", ("properties", "expiration_seconds", "minimum"), 600),
    ],
)
def test_the_facts_that_a_gateway_depends_on_stand_there(
    schema: str, path: tuple[str, ...], expected: object
) -> None:
    """Written out, so that a change of the file is seen here."""
    value: Any = published().document["components"]["schemas"][schema]
    for step in path:
        value = value[step]

    assert value == expected
