"""Senders, lists and accounts over a real socket."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from cakemail_sandbox.seed import Sender
from tests.cakemail_sandbox.conftest import as_bearer, bearer_of
from tests.support.sandbox import (
    FULL_TOKEN,
    SEND_ONLY_TOKEN,
    SUSPENDED_USERNAME,
    WITHOUT_API_USERNAME,
    Sandbox,
)

FORBIDDEN = {"detail": [{"msg": "Forbidden", "type": "bad_request", "code": 8004}]}


def ids(answer: httpx.Response) -> list[Any]:
    """The ids of a page."""
    return [each["id"] for each in answer.json()["data"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["31", "32", "33", "35", "34", "36"]),
        ("?sort=-confirmed", ["31", "32", "35", "34", "33", "36"]),
        ("?sort=name", ["32", "31", "36", "34", "33", "35"]),
        ("?sort=%2Bemail", ["31", "32", "36", "33", "35", "34"]),
        ("?per_page=2&page=2", ["33", "35"]),
        ("?per_page=2&page=9", []),
        ("?account_id=1002", ["41"]),
    ],
)
def test_senders_are_listed_sorted_and_in_pages(
    api: httpx.Client, query: str, expected: list[str]
) -> None:
    """By the parameters of the contract."""
    assert ids(api.get(f"/brands/default/senders{query}")) == expected


def test_all_of_many_senders_are_reached_by_reading_all_pages(
    sandbox: Sandbox, api: httpx.Client
) -> None:
    """The count comes when asked for."""
    account = sandbox.seed.accounts[0]
    many = tuple(
        Sender(id=str(number), name="x", email=f"s{number}@example.com") for number in range(120)
    )
    changed = account.model_copy(update={"senders": many})
    sandbox.clear(
        sandbox.seed.model_copy(update={"accounts": (changed, *sandbox.seed.accounts[1:])})
    )
    as_bearer(api, FULL_TOKEN)

    pages = [
        api.get(f"/brands/default/senders?per_page=50&page={page}&with_count=true")
        for page in (1, 2, 3)
    ]

    assert [len(ids(each)) for each in pages] == [50, 50, 20]
    assert pages[0].json()["pagination"] == {"page": 1, "per_page": 50, "count": 120}


def test_a_sender_is_shown_by_its_id(api: httpx.Client) -> None:
    """With its state."""
    answer = api.get("/brands/default/senders/36")

    assert answer.json() == {
        "data": {
            "id": "36",
            "name": "Not yet confirmed",
            "email": "pending@example.com",
            "confirmed": False,
            "language": "en_US",
        }
    }


@pytest.mark.parametrize("path", ["/brands/default/senders/71", "/lists/2401"])
def test_what_belongs_to_another_account_is_not_found(api: httpx.Client, path: str) -> None:
    """400, as the service answers for missing objects."""
    assert api.get(path).status_code == 400


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [2003, 2002, 2001]),
        ("?filter=status==active&sort=+created_on", [2001, 2003]),
        ("?filter=status%3D%3Dactive&sort=%2Bcreated_on", [2001, 2003]),
        ("?filter=status==archived", [2002]),
        ("?filter=status==active;name==Customers", [2001]),
        ("?sort=-created_on", [2003, 2001, 2002]),
    ],
)
def test_lists_are_filtered_and_sorted(api: httpx.Client, query: str, expected: list[int]) -> None:
    """A plus that was not encoded means the same."""
    assert ids(api.get(f"/lists{query}")) == expected


@pytest.mark.parametrize(("number", "accepted"), [(2001, True), (2003, False)])
def test_a_list_says_whether_its_policy_was_accepted(
    api: httpx.Client, number: int, *, accepted: bool
) -> None:
    """For diagnosis."""
    assert api.get(f"/lists/{number}").json()["data"]["policy_accepted"] is accepted


@pytest.mark.parametrize(
    "query",
    [
        "/lists?sort=size",
        "/lists?filter=size==3",
        "/lists?filter=name",
        "/logs/emails-summary?sort=x",
    ],
)
def test_an_unknown_sort_or_filter_is_a_bad_request(api: httpx.Client, query: str) -> None:
    """400, not an answer that ignores it."""
    assert api.get(query).status_code == 400


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/lists/none", ["path", "list_id"]),
        ("/lists?page=0", ["query", "page"]),
        ("/lists?per_page=x", ["query", "per_page"]),
        ("/lists?with_count=perhaps", ["query", "with_count"]),
        ("/logs/emails-summary?per_page=101", ["query", "per_page"]),
        ("/logs/emails-summary?status=lost", ["query", "status"]),
        ("/v2/emails/1", ["path", "email_id"]),
        ("/accounts/one-thousand", ["path", "account_id"]),
    ],
)
def test_an_argument_that_does_not_fit_is_unacceptable(
    api: httpx.Client, path: str, place: list[str]
) -> None:
    """422 that names it."""
    answer = api.get(path)

    assert answer.status_code == 422
    assert [each["loc"] for each in answer.json()["detail"]] == [place]


def test_the_own_account_is_shown(api: httpx.Client) -> None:
    """Its id is a text there."""
    data = api.get("/accounts/self").json()["data"]

    assert (data["id"], data["status"], data["usage_limits"]) == (
        "1001", "active", {"use_email_api": True},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("username", "status", "may_send"),
    [(SUSPENDED_USERNAME, "suspended", True), (WITHOUT_API_USERNAME, "active", False)],
)
def test_an_account_says_why_it_may_not_send(
    anonymous: httpx.Client, username: str, status: str, *, may_send: bool
) -> None:
    """So that a client can tell its user early."""
    client = as_bearer(anonymous, bearer_of(anonymous, username))

    data = client.get("/accounts/self").json()["data"]

    assert (data["status"], data["usage_limits"]["use_email_api"]) == (status, may_send)


@pytest.mark.parametrize(
    ("number", "status"), [("1001", 200), ("1002", 200), ("1005", 400), ("9", 400), ("x", 400)]
)
def test_only_accounts_within_reach_are_shown(api: httpx.Client, number: str, status: int) -> None:
    """A foreign account and one that does not exist look the same."""
    assert api.get(f"/accounts/{number}").status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/brands/default/senders",
        "/brands/default/senders/31",
        "/lists",
        "/lists/2001",
        "/accounts/self",
        "/accounts/1001",
    ],
)
def test_a_token_that_may_only_send_cannot_look_up(anonymous: httpx.Client, path: str) -> None:
    """Forbidden there, allowed with the scopes."""
    narrow = as_bearer(anonymous, SEND_ONLY_TOKEN).get(path)
    wide = as_bearer(anonymous, FULL_TOKEN).get(path)

    assert (narrow.status_code, narrow.json(), wide.status_code) == (400, FORBIDDEN, 200)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/emails", 404),
        ("GET", "/lists/", 404),
        ("PUT", "/token", 405),
        ("DELETE", "/lists/2001", 405),
    ],
)
def test_what_is_not_part_of_the_api_in_use_does_not_exist(
    api: httpx.Client, method: str, path: str, status: int
) -> None:
    """With a text as detail, as the service's framework answers."""
    answer = api.request(method, path)

    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)
