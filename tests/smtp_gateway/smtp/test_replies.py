"""Errors to replies: every class has its row, and nothing foreign leaves unfiltered."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway import errors
from smtp_gateway.errors import Fate, GatewayError
from smtp_gateway.smtp.replies import REPLIES, Reply, foreign_text, reply_for

SESSION = "5f0c1a2b"
# RFC 5321 4.2: three digits, a space, printable ASCII; 512 octets with CRLF.
WELL_FORMED = re.compile(r"[245][0-9]{2} [ -~]{0,506}")


MULTI_FACTOR = (
    "535 5.7.8 Authentication credentials invalid: the account uses multi-factor"
    " authentication and needs an access token as password"
)


def kinds(kind: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    """Every class of the error tree."""
    yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


KINDS = sorted(
    {kind for kind in kinds() if kind.__module__ == errors.__name__}, key=lambda k: k.__name__
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_its_own_row(kind: type[GatewayError]) -> None:
    """A new error class needs a decision about its reply."""
    assert kind in REPLIES


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_digit_says_whether_to_repeat(kind: type[GatewayError]) -> None:
    """Permanent is 5, temporary and ambiguous are 4, in the code and in the enhanced code."""
    digit = "5" if kind.fate is Fate.PERMANENT else "4"
    reply = REPLIES[kind]
    assert (str(reply.code)[0], reply.enhanced[0]) == (digit, digit)


@pytest.mark.parametrize(("kind", "reply"), REPLIES.items())
def test_every_row_is_a_well_formed_line(kind: type[GatewayError], reply: Reply) -> None:
    """Without any fact the line still ends at its phrase and the session's id."""
    line = reply_for(kind(), SESSION)
    assert WELL_FORMED.fullmatch(line)
    assert line.endswith(f" [{SESSION}]")
    assert "{" not in line
    assert ": [" not in line
    assert re.fullmatch(r"[245]\.[0-9]\.[0-9]{1,2}", reply.enhanced)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.CredentialsInvalid(), "535 5.7.8 Authentication credentials invalid"),
        (errors.AuthenticationUnavailable(), "454 4.7.0 Temporary authentication failure"),
        (
            errors.MultiFactorRequired(),
            MULTI_FACTOR,
        ),
        (
            errors.LockedOut(seconds=899.2),
            "421 4.7.0 Too many different wrong passwords, retry in 900 s",
        ),
        (
            errors.SenderNotVerified(address="bob@x.test"),
            "550 5.7.1 The from address does not match a verified Sender Identity: bob@x.test",
        ),
        (errors.RateLimited(seconds=12), "451 4.7.1 Rate limit, retry in 12 s"),
        (errors.Throttled(seconds=0), "451 4.7.1 Rate limit, try again later"),
        (errors.Throttled(seconds=float("nan")), "451 4.7.1 Rate limit, try again later"),
        (errors.CapacityExceeded(), "452 4.3.1 Insufficient system storage, try again"),
        (errors.Unavailable(), "451 4.3.2 Service temporarily unavailable"),
        (errors.NotConfirmed(), "451 4.4.2 Submission not confirmed, try again"),
        (errors.RequestMisdirected(), "451 4.3.5 Service not configured correctly, try again"),
        (errors.InternalError(), "451 4.3.0 Internal error"),
        (
            errors.MessageTooLarge(limit=26214400),
            "552 5.3.4 Message size exceeds limit of 26214400 octets",
        ),
        (
            errors.HeaderInvalid(header="X-List-Id", reason="is no number"),
            "550 5.6.0 X-List-Id: is no number",
        ),
        (
            errors.PartUnsupported(part="application/zip a@2x.zip", reason="no such type"),
            "550 5.6.1 Part not supported: application/zip a@2x.zip: no such type",
        ),
        (
            errors.ContentRefused(excerpt="String should have at least 1 character"),
            "550 5.6.0 Message refused: String should have at least 1 character",
        ),
        (errors.RecipientRefused(), "550 5.1.3 Recipient address refused"),
        (errors.RequestTooLarge(), "552 5.3.4 Message too large for the service"),
    ],
)
def test_the_texts_that_people_and_programs_read(error: GatewayError, line: str) -> None:
    """Plugins and bounce analysers match on these words."""
    assert reply_for(error, SESSION) == f"{line} [{SESSION}]"


def test_an_unknown_exception_is_temporary_and_keeps_its_text_to_itself() -> None:
    """Whatever is no error of ours becomes 451 with a fixed text."""
    line = reply_for(ValueError("bob@x.test said s3cret\r\n250 Ok"), SESSION)
    assert line == f"451 4.3.0 Internal error [{SESSION}]"


def test_an_error_without_a_row_answers_as_its_nearest_base() -> None:
    """A class from elsewhere cannot leave a client without a reply."""

    class Odd(errors.RecipientRefused):
        """Outside the tree of errors.py."""

    assert reply_for(Odd(), SESSION) == f"550 5.1.3 Recipient address refused [{SESSION}]"


@pytest.mark.trap(12)
def test_trap_12_text_of_the_provider_is_one_line_without_addresses() -> None:
    """The API answers with CR LF and an address in its message: one line, no address."""
    error = errors.ContentRefused(excerpt="no\r\n250 Ok 1\r\nfor <victim@x.test>, eh?")
    assert reply_for(error, SESSION) == (
        f"550 5.6.0 Message refused: no 250 Ok 1 for [address] eh? [{SESSION}]"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to a@x.test now", "to [address] now"),
        ('"email":"a@x.test" is bad', "[address] is bad"),
        ("a%40x.test", "[address]"),
        ("a\uff20x.test", "[address]"),
        ("token ck_pat_0a1b2c failed", "token [hidden] failed"),
        ("Authorization: Bearer abc", "Authorization: Bearer [hidden]"),
        ("got eyJhbGciOiJSUzI1NiJ9.e30.c2ln today", "got [hidden] today"),
        ("key=0123456789abcdef0123456789abcdef", "[hidden]"),
        ("content.additional_headers", "content.additional_headers"),
        ("String should have at least 1 character", "String should have at least 1 character"),
        ("caf\u00e9 \u2028 x\x00y", "caf? x?y"),
        ("", ""),
    ],
)
def test_foreign_words_lose_addresses_and_secrets(text: str, shown: str) -> None:
    """Each word that names a mailbox or looks like a key is replaced whole."""
    assert foreign_text(text) == shown


def test_a_word_cut_by_the_bound_does_not_show_half_an_address() -> None:
    """What is read stops after 1,000 characters; the word that stands there goes."""
    words = " ".join(["a@x.test/" + "y" * 91] * 9)
    assert "victim" not in foreign_text(words + " " + "victim" * 20 + "@x.test")


FOREIGN = st.text(st.characters(min_codepoint=0, max_codepoint=0x2FFF), max_size=1500)


@pytest.mark.trap(37)
@given(
    kind=st.sampled_from(KINDS),
    facts=st.dictionaries(
        st.sampled_from(["excerpt", "reason", "header", "part", "address", "limit", "seconds"]),
        FOREIGN,
    ),
)
def test_every_reply_is_one_short_ascii_line(
    kind: type[GatewayError], facts: dict[str, str | float]
) -> None:
    """Whatever the facts hold: one line, printable ASCII, at most 512 octets with CRLF."""
    line = reply_for(kind("", **facts), SESSION)
    assert WELL_FORMED.fullmatch(line)
    assert line.endswith(f"[{SESSION}]")


@given(before=FOREIGN, after=FOREIGN)
def test_no_address_survives_wherever_it_stands(before: str, after: str) -> None:
    """An address anywhere in the API's words is gone from the reply."""
    line = reply_for(errors.ContentRefused(excerpt=f"{before}victim@mail.test{after}"), SESSION)
    assert "victim@" not in line
    assert "@mail.test" not in line
