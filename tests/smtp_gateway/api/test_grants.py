"""The token service's and the account resource's words, one row each."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from smtp_gateway.api.grants import (
    Grant,
    Standing,
    describe,
    is_bearer,
    number,
    read_grant,
    read_object,
    read_standing,
)
from smtp_gateway.api.submitter import Answer
from smtp_gateway.errors import (
    AuthenticationUnavailable,
    CredentialsInvalid,
    GatewayError,
    MultiFactorRequired,
)
from tests.support.api_bench import jwt

NOW = 1_000_000.0


def grant(document: Any, status: int = 200) -> Grant:
    """The grant in an answer."""
    return read_grant(Answer(status, orjson.dumps(document)), now_wall=NOW)


def test_a_token_answer_is_read_whole() -> None:
    """The fields of the OpenAPI document, and the account from the token's claims."""
    token = jwt(account_id=7, exp=9, accounts=[1])
    made = grant(
        {"access_token": token, "expires_in": 432_000, "refresh_token": "r", "accounts": [7, 8]}
    )
    assert made == Grant(token, "r", 432_000.0, 7, frozenset({7, 8}))


def test_a_token_that_is_no_jwt_is_as_good() -> None:
    """Only what its claims would spare is missing."""
    made = grant({"access_token": "opaque", "expires_in": 600})
    assert made == Grant("opaque", "", 600.0, None, frozenset())


@pytest.mark.parametrize(
    ("document", "claims", "life"),
    [
        ({"expires_in": 900}, {"exp": NOW + 5}, 900.0),  # the answer's own word counts
        ({}, {"exp": NOW + 1234}, 1234.0),
        ({}, {"exp": NOW - 1}, 600.0),  # a clock that differs
        ({"expires_in": None}, {}, 600.0),
        ({"expires_in": True}, {}, 600.0),
        ({"expires_in": -1}, {}, 600.0),
        ({"expires_in": 10**12}, {}, 2_592_000.0),
    ],
)
def test_the_life_of_a_token(document: dict[str, Any], claims: dict[str, Any], life: float) -> None:
    """``expires_in``, else the claim, else the shortest that exists; never over 30 days."""
    assert grant({"access_token": jwt(**claims)} | document).life_seconds == life


@pytest.mark.parametrize("token", ["a.b.c", "a.A.c", "a.~~~~.c", "..", "a.W10.c", jwt()])
def test_unreadable_claims_are_no_failure(token: str) -> None:
    """They would only have spared a call."""
    assert grant({"access_token": token}).account_id is None


@pytest.mark.parametrize(
    ("status", "document", "error"),
    [
        (200, {"challenge": "c-1"}, MultiFactorRequired),
        (401, {"challenge": "c-1"}, MultiFactorRequired),
        (401, {"detail": [{"msg": "Unauthorized", "type": "unauthorized"}]}, CredentialsInvalid),
        (400, {"detail": [{"msg": "Bad", "type": "bad_request"}]}, CredentialsInvalid),
        (403, {"detail": "no"}, CredentialsInvalid),
        (422, {"detail": []}, CredentialsInvalid),
        (400, {"challenge": "c-1"}, CredentialsInvalid),
        (429, {"detail": "slow down"}, AuthenticationUnavailable),
        (500, {"detail": [{"msg": "oops"}]}, AuthenticationUnavailable),
        (502, None, AuthenticationUnavailable),
        (503, {}, AuthenticationUnavailable),
        (504, {}, AuthenticationUnavailable),
        (404, {"detail": "Not Found"}, AuthenticationUnavailable),
        (405, {}, AuthenticationUnavailable),
        (408, {}, AuthenticationUnavailable),
        (201, {"access_token": "t"}, AuthenticationUnavailable),
        (302, {}, AuthenticationUnavailable),
        (200, {}, AuthenticationUnavailable),
        (200, [], AuthenticationUnavailable),
        (200, {"access_token": ""}, AuthenticationUnavailable),
        (200, {"access_token": 1}, AuthenticationUnavailable),
        (200, {"access_token": "with space"}, AuthenticationUnavailable),
        (200, {"access_token": "line\r\nend"}, AuthenticationUnavailable),
    ],
)
def test_every_other_answer_is_an_error(
    status: int, document: Any, error: type[GatewayError]
) -> None:
    """The table AUTH of cakemail-api 7.6."""
    with pytest.raises(GatewayError) as caught:
        grant(document, status)
    assert caught.type is error


@pytest.mark.parametrize("status", [200, 500])
def test_html_is_unreadable(status: int) -> None:
    """A proxy's page never means a wrong password."""
    with pytest.raises(AuthenticationUnavailable):
        read_grant(Answer(status, b"<html>"), now_wall=NOW)


def test_a_grant_shows_no_token() -> None:
    """Whoever prints it prints nothing secret."""
    assert repr(Grant("secret-1", "secret-2", 1.0, 7, frozenset())) == (
        "Grant(life_seconds=1.0, account_id=7, accounts=frozenset())"
    )


@pytest.mark.parametrize(
    ("status", "use_email_api", "reason"),
    [
        ("active", True, None),
        ("trial", True, None),
        ("incomplete", True, None),
        ("pending", True, None),
        ("active", None, None),
        ("active", False, "the account may not use the Email API"),
        ("suspended", True, "the account is suspended"),
        ("suspended_by_partner", True, "the account is suspended by its partner"),
        ("deleted", False, "the account is deleted"),
        (None, True, None),
    ],
)
def test_the_standing_of_an_account(
    status: str | None,
    use_email_api: bool | None,  # noqa: FBT001  # a table
    reason: str | None,
) -> None:
    """Only a clear no refuses."""
    limits = {"use_email_api": use_email_api}
    standing = read_standing(
        orjson.dumps({"data": {"id": "7", "status": status, "usage_limits": limits}})
    )
    assert standing is not None
    assert standing.account_id == 7
    assert (standing.refusal.facts["reason"] if standing.refusal else None) == reason


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"data":[]}', b'{"data":null}'])
def test_an_unreadable_account_has_no_standing(body: bytes) -> None:
    """It refuses nothing."""
    assert read_standing(body) is None


def test_an_account_without_limits_may_send() -> None:
    """``usage_limits`` may be absent for a narrow login."""
    assert read_standing(b'{"data":{"id":"x"}}') == Standing(None, None)


@pytest.mark.parametrize(
    ("value", "result"),
    [("7", 7), (7, 7), ("0", None), (0, None), (-1, None), (True, None), ("٣", None), ("x", None),
     (None, None), (1.5, None), ("9" * 19, None), ("9" * 18, 10**18 - 1)],
)  # fmt: skip
def test_numbers_come_as_text_or_number(value: object, result: int | None) -> None:
    """Accounts are strings in bodies and integers in queries."""
    assert number(value) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [("ck_pat_0a", True), (jwt(id=1), True), ("a+/=", True), ("", False), ("a b", False),
     ("a\r\nX: y", False), ("ä", False), (None, False), ("a=b", False), ("a" * 16_385, False)],
)  # fmt: skip
def test_what_can_be_a_bearer(text: object, result: bool) -> None:  # noqa: FBT001  # a table
    """RFC 6750 2.1; nothing that could end the header field."""
    assert is_bearer(text) is result


@pytest.mark.parametrize(
    ("request_id", "text"),
    [("", "status 500"), ("r-1.2:3_x", "status 500, request r-1.2:3_x"), ("a b", "status 500"),
     ("x" * 65, "status 500"), ("a@b.test", "status 500")],
)  # fmt: skip
def test_an_answer_is_described_by_status_and_request(request_id: str, text: str) -> None:
    """The API's id of the request, if it looks like one."""
    assert describe(Answer(500, b"secret", "", request_id)) == text


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff", b'"x"'])
def test_only_objects_are_read(body: bytes) -> None:
    """Anything else is nothing."""
    assert read_object(body) is None
