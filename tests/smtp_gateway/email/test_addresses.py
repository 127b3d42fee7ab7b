"""Addresses: one mailbox in From, and the envelope's recipients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.email.addresses import (
    Mailbox,
    distinct,
    normalise_recipient,
    parse_mailbox,
    read_author,
)
from smtp_gateway.email.headers import Field
from smtp_gateway.errors import HeaderInvalid


@pytest.mark.parametrize(
    ("given_address", "normal"),
    [
        ("Info@Example.TEST", "Info@example.test"),
        ("a@bücher.test", "a@xn--bcher-kva.test"),
        ("a@BÜCHER.test", "a@xn--bcher-kva.test"),
        ("a@straße.test", "a@xn--strae-oqa.test"),
        ("a@xn--bcher-kva.test", "a@xn--bcher-kva.test"),
        ("a@under_score.test", "a@under_score.test"),
        ('"A@B"@X.test', '"A@B"@x.test'),
        ("Postmaster", "Postmaster"),
        ("a@é..test", "a@é..test"),
    ],
)
def test_only_the_domain_is_normalised(given_address: str, normal: str) -> None:
    """The local part belongs to the receiving side and stays exact (RFC 5321 2.4)."""
    assert normalise_recipient(given_address) == normal


def test_each_recipient_counts_once_in_the_order_of_rcpt() -> None:
    """Domains are compared without case, local parts with it."""
    recipients = ["b@x.test", "a@x.test", "b@X.TEST", "B@x.test", "a@x.test"]
    assert distinct(recipients) == ("b@x.test", "a@x.test", "B@x.test")


@pytest.mark.parametrize(
    ("value", "address", "name"),
    [
        ("shop@x.test", "shop@x.test", ""),
        ("<shop@x.test>", "shop@x.test", ""),
        ("Shop <shop@x.test>", "shop@x.test", "Shop"),
        ('"Shop, Inc." <shop@x.test>', "shop@x.test", "Shop, Inc."),
        ("Shop, Inc. <shop@x.test>", "shop@x.test", "Shop, Inc."),
        ("a.b. Shop <shop@x.test>", "shop@x.test", "a.b. Shop"),
        ('"say \\"hi\\"" <shop@x.test>', "shop@x.test", 'say "hi"'),
        ("other@y.test <shop@x.test>", "shop@x.test", "other@y.test"),
        ('"other@y.test" <shop@x.test>', "shop@x.test", "other@y.test"),
        ("shop@x.test (The (old) Shop)", "shop@x.test", "The (old) Shop"),
        ("Shop (hq) <shop@x.test>", "shop@x.test", "Shop"),
        ("=?utf-8?q?Caf=C3=A9?= <shop@x.test>", "shop@x.test", "Café"),
        ('"=?utf-8?q?Caf=C3=A9?=" <shop@x.test>', "shop@x.test", "Café"),
        ("=?utf-8?q?=3Ca=40y=2Etest=3E=2C?= <shop@x.test>", "shop@x.test", "<a@y.test>,"),
        ("Shop <shop@x.test>,", "shop@x.test", "Shop"),
        ('"a b"@x.test', '"a b"@x.test', ""),
        ("<shop@[192.0.2.1]>", "shop@[192.0.2.1]", ""),
        ("<shop+tag@bücher.test>", "shop+tag@bücher.test", ""),
        ("Shop\t<shop@x.test> (note)", "shop@x.test", "Shop"),
    ],
)
def test_one_mailbox_is_read(value: str, address: str, name: str) -> None:
    """Kindly where no two readers could disagree about the address."""
    assert parse_mailbox(value) == Mailbox(address, name)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "no mailbox in it"),
        ("Shop", "no mailbox in it"),
        ("a@x.test, b@x.test", "more than one mailbox"),
        ("<a@x.test> <b@x.test>", "more than one mailbox"),
        ("a@x.test, Shop <b@x.test>", "more than one mailbox"),
        ("Team: a@x.test;", "a group is no mailbox"),
        ("undisclosed-recipients:;", "a group is no mailbox"),
        ("Shop <>", "not a valid address"),
        ("<@a.test:b@x.test>", "not a valid address"),
        ("<a@b@x.test>", "not a valid address"),
        ("a b@x.test", "not a valid address"),
        ("a@é..test", "not a valid address"),
        ("a@\x81.test", "not a valid address"),
        ("<a@x.test> b@y.test", "text behind the mailbox"),
        ("a@x.test, trailing", "text behind the mailbox"),
        ("Shop, a@x.test", "text before the mailbox"),
        ('"open <a@x.test>', "unbalanced quotes or brackets"),
        ("(open a@x.test", "unbalanced quotes or brackets"),
        ("((((((((((((((((((((((deep) a@x.test", "unbalanced quotes or brackets"),
        ("a@x.test>", "unbalanced quotes or brackets"),
        ("<a@" + "x" * 260 + ">", "not a valid address"),
        ("a" * 10_001, "longer than 10000 characters"),
    ],
)
def test_anything_but_one_mailbox_is_refused(value: str, reason: str) -> None:
    """The reason is told, because the author of the program has to act."""
    with pytest.raises(HeaderInvalid) as refusal:
        parse_mailbox(value)
    assert refusal.value.facts == {"header": "From", "reason": reason}


def test_two_from_fields_are_refused() -> None:
    """Even equal ones: readers differ about which counts (RFC 5322 3.6)."""
    one = Field("From", "from", "a@x.test")
    with pytest.raises(HeaderInvalid) as refusal:
        read_author([one, one])
    assert refusal.value.facts["reason"] == "more than one field"


@given(st.text(st.sampled_from('ab@.,:;<>()"\\ \t=?é'), max_size=40))
def test_no_text_breaks_the_reader(value: str) -> None:
    """A mailbox with an address in it, or a named refusal."""
    try:
        mailbox = parse_mailbox(value)
    except HeaderInvalid:
        return
    assert "@" in mailbox.address
    assert mailbox.address in value
