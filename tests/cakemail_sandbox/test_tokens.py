"""``POST /token`` over a real socket."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from tests.support.sandbox import (
    MULTI_FACTOR_USERNAME,
    PASSWORD,
    SUB_ACCOUNT_ID,
    USERNAME,
    Sandbox,
)

RIGHT = {"grant_type": "password", "username": USERNAME, "password": PASSWORD}


def claims(token: str) -> dict[str, Any]:
    """The readable part of a JWT."""
    middle = token.split(".")[1]
    value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return value


def test_a_right_password_gives_tokens_and_accounts(anonymous: httpx.Client) -> None:
    """The answer has the five documented fields."""
    answer = anonymous.post("/token", data=RIGHT)

    body = answer.json()
    assert answer.status_code == 200
    assert sorted(body) == [
        "access_token", "accounts", "expires_in", "refresh_token", "token_type",
    ]  # fmt: skip
    assert (body["token_type"], body["expires_in"]) == ("bearer", 432_000)
    assert body["accounts"] == [1001, 1002]


def test_the_bearer_reads_like_the_services_own(anonymous: httpx.Client) -> None:
    """A client may read account and expiry from the token's claims."""
    token = anonymous.post("/token", data=RIGHT).json()["access_token"]

    found = claims(token)
    assert (found["iss"], found["account_id"], found["accounts"]) == (
        "urn:cakemail", 1001, [1001, 1002],
    )  # fmt: skip
    assert found["exp"] - found["iat"] == 432_000
    assert found["email"] == USERNAME
    assert len(base64.urlsafe_b64decode(token.split(".")[2] + "==")) == 256


@pytest.mark.parametrize("status", [400, 401, 403, 422])
@pytest.mark.parametrize(
    "wrong", [{"password": "wrong"}, {"username": "nobody@example.com"}], ids=["password", "user"]
)
def test_wrong_credentials_are_refused_with_the_chosen_status(
    sandbox: Sandbox, anonymous: httpx.Client, status: int, wrong: dict[str, str]
) -> None:
    """Which status the service uses is open, so each can be chosen."""
    sandbox.behave(wrong_password_status=status)

    answer = anonymous.post("/token", data=RIGHT | wrong)

    assert answer.status_code == status
    assert answer.json()["detail"][0]["msg"] == "Invalid credentials"


@pytest.mark.parametrize("status", [200, 401])
def test_a_user_with_a_second_factor_gets_a_challenge(
    sandbox: Sandbox, anonymous: httpx.Client, status: int
) -> None:
    """Both statuses have been described."""
    sandbox.behave(challenge_status=status)

    answer = anonymous.post("/token", data=RIGHT | {"username": MULTI_FACTOR_USERNAME})

    assert (answer.status_code, answer.json()) == (status, {"challenge": "mfa"})


def test_a_password_may_hold_anything_that_a_form_must_encode(anonymous: httpx.Client) -> None:
    """Plus, ampersand, equals, per cent, space and letters outside ASCII."""
    right = {"username": "umlaut@example.com", "password": "p+a&s=s%w ö€"}

    assert anonymous.post("/token", data=right).status_code == 200


def test_a_user_name_without_the_form_of_an_address_is_unacceptable(
    anonymous: httpx.Client,
) -> None:
    """The contract says so."""
    answer = anonymous.post("/token", data=RIGHT | {"username": "demo"})

    assert (answer.status_code, answer.json()) == (
        422,
        {
            "detail": [
                {
                    "loc": ["body", "username"],
                    "msg": "value is not a valid email",
                    "type": "value_error.email",
                }
            ]
        },
    )


@pytest.mark.parametrize(
    ("form", "missing"),
    [
        ({"username": USERNAME}, "password"),
        ({"password": PASSWORD}, "username"),
        ({"grant_type": "refresh_token"}, "refresh_token"),
    ],
)
def test_what_a_grant_needs_must_be_there(
    anonymous: httpx.Client, form: dict[str, str], missing: str
) -> None:
    """The fault names the field."""
    answer = anonymous.post("/token", data=form)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", missing]


def test_a_body_of_json_is_a_form_without_fields(anonymous: httpx.Client) -> None:
    """A client that sends JSON to the token endpoint learns it."""
    answer = anonymous.post("/token", json=RIGHT)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "username"]


def test_a_refresh_token_works_once_when_it_is_replaced(anonymous: httpx.Client) -> None:
    """The second use of the old one is refused, the new one works."""
    old = anonymous.post("/token", data=RIGHT).json()["refresh_token"]
    renewal = {"grant_type": "refresh_token", "refresh_token": old}

    first = anonymous.post("/token", data=renewal)
    again = anonymous.post("/token", data=renewal)
    newer = anonymous.post(
        "/token", data=renewal | {"refresh_token": first.json()["refresh_token"]}
    )

    assert [each.status_code for each in (first, again, newer)] == [200, 401, 200]


def test_a_refresh_token_works_again_when_it_is_kept(
    sandbox: Sandbox, anonymous: httpx.Client
) -> None:
    """The other answer to the open question."""
    sandbox.behave(refresh_token_replaced=False)
    old = anonymous.post("/token", data=RIGHT).json()["refresh_token"]
    renewal = {"grant_type": "refresh_token", "refresh_token": old}

    answers = [anonymous.post("/token", data=renewal).status_code for _ in range(2)]

    assert answers == [200, 200]


def test_a_login_can_be_made_for_a_sub_account(anonymous: httpx.Client) -> None:
    """The account asked for becomes the token's own."""
    answer = anonymous.post("/token", data=RIGHT | {"account_id": str(SUB_ACCOUNT_ID)})

    assert claims(answer.json()["access_token"])["account_id"] == SUB_ACCOUNT_ID


def test_a_foreign_account_is_forbidden(anonymous: httpx.Client) -> None:
    """With the code that the service gives."""
    answer = anonymous.post("/token", data=RIGHT | {"account_id": "1005"})

    assert (answer.status_code, answer.json()["detail"][0]["code"]) == (400, 8004)


def test_the_life_of_a_token_can_be_asked_for_and_set(
    sandbox: Sandbox, anonymous: httpx.Client
) -> None:
    """The caller's wish counts before the switch."""
    sandbox.behave(expires_in_seconds=30)

    short = anonymous.post("/token", data=RIGHT).json()["expires_in"]
    asked = anonymous.post("/token", data=RIGHT | {"expiration_seconds": "600"}).json()

    assert (short, asked["expires_in"]) == (30, 600)


def test_no_password_is_kept(sandbox: Sandbox, anonymous: httpx.Client) -> None:
    """The capture names the user and holds nothing of the form."""
    anonymous.post("/token", data=RIGHT)

    kept = sandbox.requests("/token")
    assert kept[0]["username"] == USERNAME
    assert PASSWORD not in json.dumps([each | {"answer": None} for each in kept])
