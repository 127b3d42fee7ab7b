"""Bodies of refusals in every form, and what of them may be shown."""

from __future__ import annotations

import string

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.api.errors import (
    Problem,
    error_type,
    public_excerpt,
    read_problem,
    retry_after_seconds,
)

NOW = 1_000_000.0  # 1970-01-12 13:46:40 UTC


def test_list_of_details_gives_messages_codes_and_places() -> None:
    """The documented form, with ``loc`` that mixes strings and numbers."""
    body = (
        b'{"detail":[{"loc":["body","attachment",0,"type"],"msg":"bad","type":"x","code":8004},'
        b'{"msg":"worse"}]}'
    )
    problem = read_problem(body)
    assert problem.messages == ("bad", "worse")
    assert problem.codes == (8004,)
    assert problem.locations == (("body", "attachment", "0", "type"),)
    assert problem.excerpt == "bad; worse"


def test_detail_as_string_is_one_message() -> None:
    """The form of an unknown route."""
    assert read_problem(b'{"detail":"Not Found"}').messages == ("Not Found",)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>502</body></html>",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"detail":7}',
        b'{"detail":{"msg":"x"}}',
        b'{"detail":[1,null,{"msg":3,"code":true,"loc":"x"}]}',
        b'{"detail":"' + b"x" * 70_000 + b'"}',
        b"[" * 60_000,
    ],
)
def test_unreadable_bodies_are_problems_without_messages(body: bytes) -> None:
    """HTML, nothing, other shapes, more than 64 KiB, nesting without end."""
    assert read_problem(body) == Problem()


def test_a_hostile_list_is_cut() -> None:
    """Thousands of entries cost what twenty do."""
    problem = read_problem(orjson.dumps({"detail": [{"msg": "m" * 2000}] * 25}))
    assert len(problem.messages) == 20
    assert len(problem.messages[0]) == 1000


def test_excerpt_hides_addresses_tokens_and_line_breaks() -> None:
    """One line; an address and a secret become marks."""
    text = "no\r\n250 ok\tfor <joe@x.test>, bearer abc.def or ck_pat_12 or " + "a1" * 20 + "\x00é"
    assert public_excerpt(text) == "no 250 ok for [address] [hidden] or [hidden] or [hidden]??"


@given(st.text())
def test_excerpt_is_always_one_short_printable_line(text: str) -> None:
    """Whatever comes in, a reply stays a reply."""
    shown = public_excerpt(text)
    assert len(shown) <= 200
    assert set(shown) <= set(string.printable[:95])
    assert "@" not in shown


@given(st.binary() | st.text().map(lambda text: orjson.dumps({"detail": text})))
def test_reading_never_raises(body: bytes) -> None:
    """Any bytes are a problem of some kind."""
    assert isinstance(read_problem(body).excerpt, str)


def test_words_are_matched_at_their_beginning_without_case() -> None:
    """``Senders`` begins with sender, ``presender`` does not."""
    assert Problem(messages=("Two Senders",)).has_word("sender", "confirm")
    assert not Problem(messages=("presender",)).has_word("sender", "confirm")


def test_phrases_are_matched_as_whole_words() -> None:
    """``both`` is found, in ``bothered`` it is not."""
    assert Problem(messages=("Only  ONE of html",)).says("only one")
    assert not Problem(messages=("bothered",)).says("both")


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem(codes=(8004,)), True),
        (Problem(messages=("Forbidden",)), True),
        (Problem(messages=("not allowed",), codes=(8005,)), False),
    ],
)
def test_forbidden_is_known_by_code_or_word(problem: Problem, *, expected: bool) -> None:
    """A 400 says "Forbidden" in two ways."""
    assert problem.is_forbidden is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("86400", 86_400.0),
        ("86401", None),
        ("99999999999999999999", None),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("٣", None),
        ("Mon, 12 Jan 1970 13:47:10 GMT", 30.0),
        ("Mon, 12 Jan 1970 13:46:10 GMT", 0.0),
        ("Monday, 12-Jan-70 13:47:10 GMT", 30.0),
        ("Wed, 12 Jan 2070 13:47:10 GMT", None),
        ("Mon, 99 Jan 1970 13:47:10 GMT", None),
    ],
)
def test_retry_after_in_every_form(text: str, expected: float | None) -> None:
    """Seconds, dates past and future, absent, absurd, unreadable (RFC 9110 10.2.3)."""
    assert retry_after_seconds(text, now_wall=NOW) == expected


@given(st.text())
def test_retry_after_never_raises(text: str) -> None:
    """Any header is a time within a day or none."""
    seconds = retry_after_seconds(text, now_wall=NOW)
    assert seconds is None or 0 <= seconds <= 86_400


@pytest.mark.parametrize(
    ("status", "label"),
    [
        (200, "unreadable"), (302, "unreadable"), (400, "validation"), (401, "auth"),
        (403, "auth"), (404, "validation"), (408, "timeout"), (413, "validation"),
        (422, "validation"), (429, "rate_limit"), (500, "server_error"), (503, "server_error"),
    ],
)  # fmt: skip
def test_every_status_has_a_label(status: int, label: str) -> None:
    """The closed list of ``smtp_api_errors_total``."""
    assert error_type(status) == label
