"""Logins with a given clock."""

from __future__ import annotations

import pytest

from cakemail_sandbox.logins import Login, Logins
from cakemail_sandbox.seed import User, load
from tests.support.sandbox import FULL_TOKEN, PASSWORD, SEND_ONLY_TOKEN, USERNAME


class Clock:
    """A time that only a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        """Now."""
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """The time of a test."""
    return Clock()


@pytest.fixture
def logins(clock: Clock) -> Logins:
    """The packaged people, at the time of the test."""
    return Logins(load(), clock)


@pytest.fixture
def user(logins: Logins) -> User:
    """The demo user."""
    found = logins.by_password(USERNAME, PASSWORD)
    assert found is not None
    return found


def test_a_bearer_ends_at_its_time(clock: Clock, logins: Logins, user: User) -> None:
    """Valid until the last moment, then no more."""
    bearer = "Bearer " + logins.issue(user, account_id=1001, expires_in=600).access_token

    clock.seconds += 599
    before = logins.authenticate(bearer)
    clock.seconds += 1

    assert before == Login(USERNAME, (1001, 1002))
    assert logins.authenticate(bearer) is None


def test_a_revoked_bearer_ends_alone(logins: Logins, user: User) -> None:
    """Another one of the same person goes on."""
    first, second = (
        "Bearer " + logins.issue(user, account_id=1001, expires_in=600).access_token
        for _ in range(2)
    )

    logins.revoke(first)

    assert logins.authenticate(first) is None
    assert logins.authenticate(second) is not None


def test_user_names_are_compared_without_case(logins: Logins) -> None:
    """Passwords are not."""
    assert logins.by_password("Demo@Example.com", PASSWORD) is not None
    assert logins.by_password(USERNAME, PASSWORD.upper()) is None


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("emailapi:send", True), ("emailapi:read", True), ("sender:read", False)],
)
def test_a_narrow_token_has_what_goes_with_its_scope(
    logins: Logins, scope: str, *, allowed: bool
) -> None:
    """Sending includes reading mails, nothing else."""
    login = logins.authenticate(f"bearer {SEND_ONLY_TOKEN}")

    assert login is not None
    assert login.may(scope) is allowed


def test_no_whole_token_stands_in_a_name(logins: Logins) -> None:
    """A capture names its caller by the token's end."""
    login = logins.authenticate(f"Bearer {FULL_TOKEN}")

    assert login is not None
    assert login.name == "token …4567"
