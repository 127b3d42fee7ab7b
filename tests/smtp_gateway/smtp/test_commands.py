"""Grammar of the commands, one form per case."""

from __future__ import annotations

import pytest

from smtp_gateway.smtp import replies
from smtp_gateway.smtp.commands import (
    Path,
    Refused,
    hello_name,
    mail_path,
    recipient_path,
    split_command,
)
from smtp_gateway.smtp.replies import Reply

LIMIT = 1000


def refusal(argument: str, *, recipient: bool = False, smtputf8: bool = False) -> Reply:
    """The reply that the argument earns."""
    try:
        if recipient:
            path = recipient_path(argument, smtputf8=smtputf8)
        else:
            path = mail_path(argument, size_limit=LIMIT, smtputf8=smtputf8)
    except Refused as refused:
        return refused.reply
    pytest.fail(f"taken: {path}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"NOOP", ("NOOP", "")),
        (b"noop  two words ", ("NOOP", "two words")),
        (b"mail FROM:<A@x.test>", ("MAIL", "FROM:<A@x.test>")),
        (b"", ("", "")),
        (b"N\xd6\xd6P x", ("N\ufffd\ufffdP", "x")),
        (b"VRFY \xff", ("VRFY", "\udcff")),
    ],
)
def test_a_line_is_a_verb_and_an_argument(line: bytes, expected: tuple[str, str]) -> None:
    """RFC 5321 2.4: the verb in any case, the argument as given."""
    assert split_command(line) == expected


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        ("FROM:<a@x.test>", "a@x.test"),
        ("from:<a@x.test>", "a@x.test"),
        ("FROM: <a@x.test>", "a@x.test"),
        ("FROM:a@x.test", "a@x.test"),
        ("FROM: a@x.test", "a@x.test"),
        ("FROM:<>", "<>"),
        ("FROM: <>", "<>"),
        ("FROM:<Local.Part+tag@X.Test>", "Local.Part+tag@X.Test"),
        ('FROM:<"quoted > part"@x.test>', '"quoted > part"@x.test'),
        ('FROM:<"a\\"b"@x.test>', '"a\\"b"@x.test'),
        ("FROM:<@a.test,@b.test:c@x.test>", "c@x.test"),
        ("FROM:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        ("FROM:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
        ("FROM:<root@localhost>", "root@localhost"),
        ("FROM:<a@under_score.test>", "a@under_score.test"),
        ("FROM:<a@xn--bcher-kva.test>", "a@xn--bcher-kva.test"),
        ("FROM:<!#$%&'*+/=?^_`{|}~-@x.test>", "!#$%&'*+/=?^_`{|}~-@x.test"),
        ("FROM:<" + "l" * 64 + "@x.test>", "l" * 64 + "@x.test"),
    ],
)
def test_sender_forms_that_are_taken(argument: str, address: str) -> None:
    """RFC 5321 4.1.2 and the leniencies: the local part stays as given, routes are dropped."""
    assert mail_path(argument, size_limit=LIMIT) == Path(address, [], None)


@pytest.mark.parametrize(
    "argument",
    [
        "FROM:<a@x.test",
        "FROM:a@x.test>",
        "FROM:<a>",
        "FROM:a",
        "FROM:<@x.test>",
        "FROM:<a@>",
        "FROM:<a@@x.test>",
        "FROM:<a..b@x.test>",
        "FROM:<.a@x.test>",
        "FROM:<a.@x.test>",
        "FROM:<a b@x.test>",
        "FROM:<a@x..test>",
        "FROM:<a@-x.test>",
        "FROM:<a@x-.test>",
        "FROM:<a@x.test.>",
        "FROM:<a@[>",
        "FROM:<a\x01@x.test>",
        "FROM:<a\t@x.test>",
        "FROM:<a(comment)@x.test>",
        "FROM:<@a.test:>",
        "FROM:<postmaster>",
        "FROM:<a@x.test>SIZE=1",
        "FROM:<" + "l" * 65 + "@x.test>",
        "FROM:<l@" + "d" * 251 + ".test>",
        "FROM:<" + "l" * 60 + "@" + "d" * 190 + ".test>",
        "FROM: ",
    ],
)
def test_sender_forms_that_are_refused(argument: str) -> None:
    """RFC 5321 4.1.2, 4.5.3.1.1-3, RFC 6409 5.1: bad address syntax is 501."""
    assert refusal(argument) is replies.BAD_ADDRESS


@pytest.mark.parametrize("argument", ["", "FROM", "FROM <a@x.test>", "TO:<a@x.test>", "FROM:"])
def test_mail_without_its_keyword_is_a_syntax_error(argument: str) -> None:
    """RFC 5321 4.1.1.2."""
    assert refusal(argument) is replies.MAIL_SYNTAX


@pytest.mark.parametrize("argument", ["", "TO", "FROM:<a@x.test>", "TO:"])
def test_rcpt_without_its_keyword_is_a_syntax_error(argument: str) -> None:
    """RFC 5321 4.1.1.3."""
    assert refusal(argument, recipient=True) is replies.RCPT_SYNTAX


@pytest.mark.parametrize("argument", ["TO:<>", "TO:< >", "TO:<a\x00@x.test>", "TO:<a\x7f@x.test>"])
def test_no_recipient(argument: str) -> None:
    """The null path and control characters: 501 5.1.3."""
    assert refusal(argument, recipient=True) is replies.BAD_ADDRESS


@pytest.mark.parametrize("argument", ["TO:<a@localhost>", "TO:<a@[192.0.2.1]>", "TO:a@host"])
def test_recipient_domains_are_fully_qualified(argument: str) -> None:
    """RFC 6409 4.2: 554 5.1.2."""
    assert refusal(argument, recipient=True) is replies.ADDRESS_NOT_QUALIFIED


@pytest.mark.parametrize("argument", ["TO:<é@x.test>", "TO:<a@é.test>", "TO:<a@x.test\udcff>"])
def test_addresses_outside_ascii_are_refused_as_such(argument: str) -> None:
    """RFC 6531 3.4: without SMTPUTF8, 553 5.6.7."""
    assert refusal(argument, recipient=True) is replies.NOT_ASCII


def test_addresses_in_utf8_are_taken_where_the_extension_is_on() -> None:
    """RFC 6531 3.3; octets that are no UTF-8 are not."""
    assert recipient_path("TO:<é@bücher.test>", smtputf8=True).address == "é@bücher.test"
    assert mail_path("FROM:<é@x.test> SMTPUTF8", size_limit=LIMIT, smtputf8=True).parameters == [
        "SMTPUTF8"
    ]
    assert refusal("TO:<\udcff@x.test>", recipient=True, smtputf8=True) is replies.BAD_ADDRESS
    assert refusal("FROM:<a@x.test> SMTPUTF8=1", smtputf8=True) is replies.BAD_PARAMETER


def test_lengths_count_octets() -> None:
    """RFC 6531 3.3: limits are of octets also in UTF-8."""
    assert refusal("TO:<" + "é" * 33 + "@x.test>", recipient=True, smtputf8=True) is (
        replies.BAD_ADDRESS
    )


@pytest.mark.parametrize(
    ("word", "reply"),
    [
        ("SIZE=x", replies.BAD_PARAMETER),
        ("SIZE", replies.BAD_PARAMETER),
        ("SIZE=-1", replies.BAD_PARAMETER),
        ("SIZE=999999999999999999999", replies.BAD_PARAMETER),
        ("SIZE=1001", replies.OVER_SIZE),
        ("BODY=BINARYMIME", replies.NOT_SUPPORTED),
        ("BODY=OTHER", replies.BAD_PARAMETER),
        ("BODY", replies.BAD_PARAMETER),
        ("AUTH", replies.BAD_PARAMETER),
        ("RET=SOME", replies.BAD_PARAMETER),
        ("ENVID=a+zz", replies.BAD_PARAMETER),
        ("ENVID=" + "x" * 101, replies.BAD_PARAMETER),
        ("SMTPUTF8", replies.NO_SMTPUTF8),
        ("SMTPUTF8=1", replies.BAD_PARAMETER),
        ("REQUIRETLS", replies.NOT_SUPPORTED),
        ("NOTIFY=NEVER", replies.NOT_SUPPORTED),
        ("X=1", replies.NOT_SUPPORTED),
        ("=1", replies.BAD_PARAMETER),
        ("é", replies.BAD_PARAMETER),
        ("RET=FULL RET=FULL", replies.BAD_PARAMETER),
    ],
)
def test_mail_parameters_that_are_refused(word: str, reply: Reply) -> None:
    """RFC 5321 4.1.1.11 and each extension: never ignore a security promise."""
    assert refusal(f"FROM:<a@x.test> {word}") is reply


@pytest.mark.parametrize(
    "word",
    ["SIZE=0", "SIZE=1000", "BODY=7BIT", "body=8BITMIME", "AUTH=<>", "AUTH=a@x.test", "RET=HDRS",
     "RET=full", "ENVID=QQ+2B1", "AUTH=<a@x.test>"],
)  # fmt: skip
def test_mail_parameters_that_are_taken(word: str) -> None:
    """RFC 1870, 6152, 4954 5, 3461: though DSN is not offered."""
    key, _, value = word.partition("=")
    path = mail_path(f"FROM:<a@x.test> {word}", size_limit=LIMIT)
    assert path.parameters == [f"{key.upper()}={value}"]


@pytest.mark.parametrize(
    "word",
    ["NOTIFY=NEVER", "NOTIFY=success,FAILURE,delay", "ORCPT=rfc822;a@x.test",
     "orcpt=RFC822;a+3Db@x.test"],
)  # fmt: skip
def test_recipient_parameters_that_are_taken(word: str) -> None:
    """RFC 3461 4.1, 4.2: PHPMailer sends NOTIFY unasked."""
    key, _, value = word.partition("=")
    path = recipient_path(f"TO:<a@x.test> {word}")
    assert path.parameters == [f"{key.upper()}={value}"]


@pytest.mark.parametrize(
    ("word", "reply"),
    [
        ("NOTIFY=NEVER,SUCCESS", replies.BAD_PARAMETER),
        ("NOTIFY=SOMETIMES", replies.BAD_PARAMETER),
        ("NOTIFY", replies.BAD_PARAMETER),
        ("ORCPT=a@x.test", replies.BAD_PARAMETER),
        ("ORCPT=rfc822;" + "x" * 500, replies.BAD_PARAMETER),
        ("SIZE=1", replies.NOT_SUPPORTED),
    ],
)
def test_recipient_parameters_that_are_refused(word: str, reply: Reply) -> None:
    """RFC 3461 4; RFC 5321 4.1.1.11."""
    assert refusal(f"TO:<a@x.test> {word}", recipient=True) is reply


def test_the_size_is_told() -> None:
    """RFC 1870 4: for the admission of memory at MAIL."""
    assert mail_path("FROM:<a@x.test> SIZE=77", size_limit=LIMIT).size == 77
    assert mail_path("FROM:<a@x.test>", size_limit=LIMIT).size is None


def test_hello_names_are_shown_as_text() -> None:
    """What is no UTF-8 becomes a replacement character; control characters are refused."""
    assert hello_name("") == ""
    assert hello_name("b\udcffx") == "b\ufffdx"
    with pytest.raises(Refused):
        hello_name("a\x1bb")
