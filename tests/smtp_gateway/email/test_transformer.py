"""The whole mail layer: order of faults, bounds, and what leaves it."""

from __future__ import annotations

import contextlib
import hashlib
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.email.message import Submission
from smtp_gateway.email.transformer import transform
from smtp_gateway.errors import HeaderInvalid, MessageError, MessageTooComplex, RoutingLoop
from smtp_gateway.policy import EmailType, Policy, Tracking

FROM = b"From: Shop <shop@sender.test>\r\n"


def submitted(content: bytes, policy: Policy | None = None) -> Submission:
    """The submission of a message under the default policy."""
    digest = hashlib.sha256(content).digest()
    return transform(content, policy or Policy(), digest=digest)


def refusal(content: bytes) -> tuple[str, str | float]:
    """Class of a refusal, and the header or part that it names."""
    with pytest.raises(MessageError) as raised:
        submitted(content)
    facts = raised.value.facts
    return type(raised.value).__name__, facts.get("header") or facts.get("part") or ""


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"X-Note: a\0\r\nX-List-Id: x\r\nX-Account-Id: y\r\n", "X-List-Id"),
        (b"X-PM-Tag: x\r\nX-List-Id: x\r\n", "X-PM-Tag"),
        (b"Idempotency-Key: a\r\nX-EE-Idempotency-Key: b\r\n", "X-EE-Idempotency-Key"),
        (b"Content-Type: message/rfc822\r\nX-Note: a\0\r\n", "From"),
        (FROM + b"Content-Type: message/rfc822\r\nX-Note: a\0\r\n", "X-Note"),
        (FROM + b"Content-Type: message/rfc822\r\n", "message/rfc822"),
    ],
)
def test_the_first_fault_in_the_order_of_checks_decides(content: bytes, named: str) -> None:
    """Control headers, their contradictions, From, then structure and attachments."""
    assert refusal(content + b"\r\nbody\r\n")[1] == named


def test_a_message_id_is_made_from_the_digest_when_there_is_none() -> None:
    """A client's retry carries the same one, so that the mail can be recognised."""
    first, again = submitted(FROM + b"\r\nx"), submitted(FROM + b"\r\nx")
    made = first.steering.message_id
    assert made == again.steering.message_id != submitted(FROM + b"\r\ny").steering.message_id
    assert made.endswith("@sender.test>")
    assert first.headers == (("Message-ID", made),)
    assert not first.steering.has_own_message_id


def test_the_domain_of_a_made_message_id_can_be_given() -> None:
    """Otherwise it is the one of From."""
    found = transform(FROM + b"\r\nx", Policy(), digest=b"\1" * 32, message_id_domain="gw.test")
    assert found.steering.message_id == f"<{'01' * 16}@gw.test>"


def test_the_clients_message_id_travels() -> None:
    """Applications keep their own for later."""
    found = submitted(FROM + b"Message-Id: <own@x.test>\r\n\r\nx")
    assert found.steering.message_id == "<own@x.test>"
    assert found.steering.has_own_message_id
    assert found.headers == (("Message-Id", "<own@x.test>"),)


def test_policy_fills_what_the_message_leaves_open() -> None:
    """Type, list, tracking and the operator's tags."""
    policy = Policy(
        email_type=EmailType.MARKETING, list_id=7, tracking=Tracking(opens=True), tags=("gw",)
    )
    found = submitted(FROM + b"X-Track-Clicks-Html: on\r\nX-Tags: a\r\n\r\nx", policy)
    assert found.steering.email_type is EmailType.MARKETING
    assert found.steering.list_id == 7
    assert found.tracking == Tracking(opens=True, clicks_html=True, clicks_text=False)
    assert found.tags == ("a", "gw")


def test_what_is_noted_is_fit_for_a_log() -> None:
    """Names are the client's text: one with an address in it is not shown, and all are bounded."""
    names = [b"X-PM-Metadata-joe@home.test:", *(b"X-PM-%d:" % number for number in range(30))]
    noted = submitted(b"\r\n".join([*names, FROM])).steering.noted
    assert noted[:3] == ("other", "X-PM-0", "X-PM-1")
    assert len(noted) == 20


def test_a_name_is_noted_once() -> None:
    """The list tells what had no effect, not how often."""
    found = submitted(FROM + b"X-List-Id: 1\r\nX-List-Id: 2\r\nX-List-Id: 3\r\n\r\nx")
    assert found.steering.noted == ("X-List-Id",)


def test_over_a_hundred_received_fields_are_a_loop() -> None:
    """RFC 5321 6.3."""
    assert submitted(FROM + b"Received: x\r\n" * 100 + b"\r\nx").text == "x"
    with pytest.raises(RoutingLoop):
        submitted(FROM + b"Received: x\r\n" * 101 + b"\r\nx")


def test_a_header_section_over_its_bound_is_refused() -> None:
    """A megabyte, or two thousand fields."""
    for section in (b"X: " + b"x" * 1_048_576 + b"\r\n", b"X: x\r\n" * 2_001):
        with pytest.raises(MessageTooComplex):
            submitted(FROM + section + b"\r\nx")


def test_tens_of_kilobytes_in_one_header_are_ordinary() -> None:
    """Control headers of some clients are as long, and folded or not."""
    value = b"x" * 50_000
    assert submitted(FROM + b"X-Note: " + value + b"\r\n\r\nx").headers[0][1] == value.decode()


SECTION = st.lists(
    st.tuples(
        st.sampled_from([b"Subject", b"X-A", b"Reply-To", b"X-Tags", b"From", b"Message-ID"]),
        st.binary(max_size=40),
    ),
    max_size=6,
)


@given(SECTION, st.binary(max_size=60))
def test_nothing_that_leaves_holds_a_line_end_or_nul(
    section: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """For any octets: a refusal of ours, or clean values."""
    lines = [name + b": " + value + b"\r\n" for name, value in section]
    try:
        found = submitted(FROM + b"".join(lines) + b"\r\n" + body)
    except MessageError:
        return
    values = [found.subject, found.steering.sender_name, found.steering.message_id]
    values += [text for header in found.headers for text in header]
    assert not [value for value in values if set(value) & set("\0\r\n\v\f\x1c\x85\u2028")]
    assert all(text.isascii() for header in found.headers for text in header)
    assert found.html or found.text


MEGABYTE = 1_048_576
PDF = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: "
QP = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
BOMBS = {
    "base64 without line ends": lambda: PDF + b"base64\r\n\r\n" + b"A" * 10 * MEGABYTE,
    "base64 in pieces": lambda: PDF + b"base64\r\n\r\n" + b"AA=" * 3 * MEGABYTE,
    "soft breaks": lambda: QP + b"=\r" * 4 * MEGABYTE,
    "escapes": lambda: QP + b"=" * 10 * MEGABYTE,
    "uuencode": lambda: PDF + b"uuencode\r\n\r\nbegin 644 a\r\n" + b"#86)C\r\n" * MEGABYTE,
    "wrong charset": lambda: (
        b"Content-Type: text/plain; charset=gb2312\r\n\r\n" + b"\xff" * 10 * MEGABYTE
    ),
    "encoded words without end": lambda: b"Subject: " + b"=?utf-8?q?a" * 90_000 + b"\r\n\r\n",
    "starts of encoded words": lambda: b"Subject: " + b"=?" * 500_000 + b"\r\n\r\n",
    "encoded words": lambda: b"Subject: " + b"=?utf-8?q?a?= " * 70_000 + b"\r\n\r\n",
    "raw octets": lambda: b"Reply-To: " + b'"\\' * 400_000 + b"\xe9\r\n\r\n",
    "words to encode": lambda: b"X-Note: " + b"\xe9 a " * 250_000 + b"\r\n\r\n",
    "tags": lambda: b"X-Tags: " + "a\u0301,".encode() * 250_000 + b"\r\n\r\n",
    "combining marks": lambda: b"X-Tags: " + "\u0301\u0323".encode() * 250_000 + b"\r\n\r\n",
    "file name of marks": lambda: (
        b'Content-Type: application/pdf; name="' + "\u0301\u0323".encode() * 250_000 + b'"\r\n\r\n'
    ),
    "equal file names": lambda: (
        b"Content-Type: multipart/mixed; boundary=B\r\n\r\n"
        + b"--B\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\nx\r\n" * 990
    ),
    "alternatives in alternatives": lambda: (
        b"Content-Type: multipart/alternative; boundary=b0\r\n\r\n"
        + b"".join(
            b"--b%d\r\nContent-Type: multipart/alternative; boundary=b%d\r\n\r\n" % (at, at + 1)
            for at in range(48)
        )
        + b"--b48\r\n\r\nx\r\n" * 900
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_message_costs_more_than_its_size_allows(bomb: str) -> None:
    """Bounds far above what honest mail of that size needs."""
    content = FROM + BOMBS[bomb]()
    tracemalloc.start()
    begin = time.process_time()
    with contextlib.suppress(MessageError):  # read or refused, both are fine
        submitted(content)
    seconds = time.process_time() - begin
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 10  # tracing alone costs a factor of five
    assert peak < 12 * len(content) + 64 * MEGABYTE


@pytest.mark.parametrize(
    "start", [b"(" * 9_000, b"a," * 4_500, b'"' + b'\\"' * 4_500, b"<" * 9_000, b"a@b," * 2_000]
)
def test_a_from_field_without_sense_is_refused_at_once(start: bytes) -> None:
    """No nesting and no repetition makes the reader slow."""
    begin = time.process_time()
    with pytest.raises(HeaderInvalid):
        submitted(b"From: " + start + b"\r\n\r\nx")
    assert time.process_time() - begin < 1
