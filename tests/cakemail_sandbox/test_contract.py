"""The judgements that are stricter than the library's."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cakemail_sandbox.contract import Unacceptable, is_address, is_base64, published
from tests.cakemail_sandbox.mails import attachment, content, mail

PATTERN = re.compile(r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")


@given(st.text(alphabet="Aa9+/=\n é", max_size=12))
@example("")
@example("QUJD")
@example("QUI=")
@example("QQ==")
@example("Q===")
@example("====")
@example("QQ=Q")
@example("QUJD\n")
def test_base64_is_judged_as_the_published_pattern_does(text: str) -> None:
    """The fast way and the pattern agree on everything."""
    assert is_base64(text) is (PATTERN.match(text) is not None)


@pytest.mark.parametrize(
    ("address", "valid"),
    [
        ("a@b.test", True),
        ("first.last+tag@sub.example.org", True),
        ("o'hara@example.org", True),
        ('"a b"@example.org', True),
        ("a@xn--bcher-kva.example", True),
        ("x" * 64 + "@example.org", True),
        ("x" * 65 + "@example.org", False),
        ("a@" + "x" * 64 + ".org", False),
        ("a@" + "x." * 130 + "org", False),
        ("a..b@example.org", False),
        (".a@example.org", False),
        ("a@example", False),
        ("a@-x.org", False),
        ("a@[127.0.0.1]", False),
        ("a@example.org ", False),
        ("a@example.org\n", False),
        ("<a@example.org>", False),
        ("bücher@example.org", False),
        ("a@bücher.example", False),
        ("a b@example.org", False),
        ("@example.org", False),
        ("", False),
    ],
)
def test_an_address_is_a_mailbox_and_nothing_else(address: str, *, valid: bool) -> None:
    """RFC 5321, with a domain of at least two labels."""
    assert is_address(address) is valid


def test_every_fault_is_named_once() -> None:
    """With its place."""
    with pytest.raises(Unacceptable) as refused:
        published().check("SubmitEmail", {"sender": {}, "content": {"text": ""}})

    assert sorted(each["loc"][1:] for each in refused.value.problems) == [
        ["content", "subject"],
        ["content", "text"],
        ["content", "type"],
        ["sender", "id"],
    ]


def test_faults_of_an_alternative_are_those_of_the_form_that_was_meant() -> None:
    """An array of attachments is judged as an array, an object as an object."""
    with pytest.raises(Unacceptable) as refused:
        published().check("SubmitEmail", mail(attachment=[attachment(type="zip")]))

    assert refused.value.problems == [
        {
            "loc": ["body", "attachment", 0, "type"],
            "msg": "value is not a valid enumeration member",
            "type": "type_error.enum",
        }
    ]


def test_fields_that_the_contract_does_not_know_are_noted() -> None:
    """At every depth; they are no fault."""
    body = mail(
        without_list_management=True,
        content=content(text="x", colour="red"),
        attachment=[attachment(content_id="1")],
    )

    assert published().unknown_fields("SubmitEmail", body) == [
        "attachment.content_id",
        "content.colour",
        "without_list_management",
    ]
