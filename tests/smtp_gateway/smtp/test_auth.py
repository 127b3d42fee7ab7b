"""AUTH's grammar: base64 and the command's words."""

from __future__ import annotations

import pytest

from smtp_gateway.smtp import replies
from smtp_gateway.smtp.auth import decode, delay_after, parse, reason_of
from smtp_gateway.smtp.commands import Refused
from smtp_gateway.smtp.effects import HookName
from smtp_gateway.smtp.replies import Reply


@pytest.mark.parametrize(
    ("text", "octets"),
    [(b"", b""), (b"YQ==", b"a"), (b"AGEAYg==", b"\x00a\x00b"), (b"////", b"\xff\xff\xff")],
)
def test_base64_is_decoded(text: bytes, octets: bytes) -> None:
    """RFC 4954 4: an empty line is an empty answer."""
    assert decode(text) == octets


@pytest.mark.parametrize(
    "text", [b"=", b"YQ", b"YQ=", b"YQ===", b"YQ==YQ==", b"Y Q=", b"-_-_", b"YQ==\x00", b"!"]
)
def test_what_is_no_base64_is_refused(text: bytes) -> None:
    """RFC 4954 4: a stray `=` too; nothing is skipped."""
    assert decode(text) is None


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("PLAIN", (HookName.AUTH_PLAIN, ["PLAIN"])),
        ("plain =", (HookName.AUTH_PLAIN, ["PLAIN", ""])),
        ("login YQ==", (HookName.AUTH_LOGIN, ["LOGIN", "YQ=="])),
        ("LOGIN  YQ==", (HookName.AUTH_LOGIN, ["LOGIN", "YQ=="])),
    ],
)
def test_the_words_of_auth(argument: str, expected: tuple[HookName, list[str]]) -> None:
    """RFC 4954 4: mechanism names in any case."""
    assert parse(argument) == expected


def test_a_mechanism_that_is_not_allowed_is_not_known() -> None:
    """RFC 4954 4: it is answered as one that does not exist."""
    assert parse("plain", {"PLAIN"}) == (HookName.AUTH_PLAIN, ["PLAIN"])
    with pytest.raises(Refused) as refusal:
        parse("LOGIN", {"PLAIN"})
    assert refusal.value.reply is replies.UNKNOWN_MECHANISM


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("", replies.AUTH_SYNTAX),
        ("PLAIN a b", replies.AUTH_SYNTAX),
        ("CRAM-MD5", replies.UNKNOWN_MECHANISM),
        ("XOAUTH2 YQ==", replies.UNKNOWN_MECHANISM),
        ("PLAIN ====", replies.BAD_BASE64),
        ("PLAIN \udcff", replies.BAD_BASE64),
    ],
)
def test_words_of_auth_that_are_refused(argument: str, reply: Reply) -> None:
    """RFC 4954 4: 501, 504."""
    with pytest.raises(Refused) as caught:
        parse(argument)
    assert caught.value.reply is reply


def test_delays_grow_to_four_seconds() -> None:
    """smtp-server 3.7."""
    assert [delay_after(n) for n in range(1, 10)] == [0, 0, 1, 2, 4, 4, 4, 4, 4]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("535 5.7.8 Authentication credentials invalid [s1]", "Authentication credentials invalid"),
        ("454 4.7.0 Temporary authentication failure", "Temporary authentication failure"),
        ("501 No code [x] here", "No code [x] here"),
    ],
)
def test_the_reason_is_told_without_code_and_reference(line: str, reason: str) -> None:
    """What System.Net.Mail's user reads."""
    assert reason_of(line) == reason
