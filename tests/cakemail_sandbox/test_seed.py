"""Seeds: read whole or refused whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cakemail_sandbox.seed import load
from tests.support import sandbox as facts

SMALL: dict[str, Any] = {
    "accounts": [{"id": 5, "name": "Small", "lineage": "1-5"}],
    "users": [{"id": 1, "email": "a@example.com", "password": "x", "accounts": [5]}],
}


def test_the_packaged_seed_holds_what_the_tests_say_about_it() -> None:
    """The facts in ``tests.support.sandbox`` are those of the file."""
    seed = load()
    own = seed.account(facts.ACCOUNT_ID)

    user = seed.user(facts.USERNAME)
    assert user is not None
    assert user.accounts == (facts.ACCOUNT_ID, facts.SUB_ACCOUNT_ID)
    assert [each.id for each in own.senders if each.email == facts.SENDER] == [facts.SENDER_ID]
    oldest = min(
        (each for each in own.lists if each.status == "active"), key=lambda each: each.created_on
    )
    assert (oldest.id, oldest.policy_accepted) == (facts.LIST_ID, True)
    assert oldest.opted_out == (facts.OPTED_OUT_RECIPIENT,)


def test_only_reserved_names_stand_in_the_packaged_seed() -> None:
    """RFC 2606: nobody real is written to by accident."""
    seed = load()
    addresses = [each.email for each in seed.users]
    addresses += [each.email for account in seed.accounts for each in account.senders]

    assert {each.rpartition("@")[2] for each in addresses} == {"example.com", "example.net"}


def test_a_seed_of_ones_own_is_read(tmp_path: Path) -> None:
    """From a file."""
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(SMALL), encoding="utf-8")

    assert load(path).account(5).name == "Small"


@pytest.mark.parametrize(
    "change",
    [
        {"accounts": [{"id": 0, "name": "x", "lineage": "1"}]},
        {"users": [{"id": 1, "email": "a@example.com", "password": "x", "accounts": []}]},
        {"access_tokens": [{"token": "ck_pat_1", "accounts": [5], "scopes": []}]},
        {"usres": []},
    ],
)
def test_what_is_no_seed_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    """A misspelt name too."""
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(SMALL | change), encoding="utf-8")

    with pytest.raises(ValidationError):
        load(path)


def test_a_user_of_an_account_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """Or a login would fail later, for a reason nobody sees."""
    path = tmp_path / "seed.json"
    stray = {"users": [{"id": 1, "email": "a@example.com", "password": "x", "accounts": [6]}]}
    path.write_text(json.dumps(SMALL | stray), encoding="utf-8")

    with pytest.raises(ValidationError, match="account 6"):
        load(path)
