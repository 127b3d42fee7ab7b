"""Who exists in the sandbox: accounts, their senders and lists, people, access tokens.

A seed is data, read whole or refused whole; ``seed.json`` is the packaged one, which the README,
the demo and the tests use. All names in it are reserved for examples (RFC 2606).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ACCESS_TOKEN_FORM = r"^ck_pat_[0-9a-f]{40}$"  # noqa: S105  # a form, no secret


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Sender(_Data):
    """A sender identity; only a confirmed one may send."""

    id: str = Field(min_length=1)
    name: str
    email: str
    confirmed: bool = True


class MailingList(_Data):
    """A contact list. ``opted_out``: addresses that no longer want mail of this list."""

    id: int = Field(ge=1)
    name: str
    status: Literal["active", "archived"] = "active"
    policy_accepted: bool = True
    created_on: int = Field(ge=0)
    opted_out: tuple[str, ...] = ()


class Account(_Data):
    """An account or sub-account. ``remaining``: mails left this month, none: not limited."""

    id: int = Field(ge=1)
    name: str
    lineage: str
    status: Literal[
        "trial", "active", "suspended", "suspended_by_partner", "deleted", "incomplete", "pending"
    ] = "active"
    use_email_api: bool = True
    remaining: int | None = Field(default=None, ge=0)
    senders: tuple[Sender, ...] = ()
    lists: tuple[MailingList, ...] = ()


class User(_Data):
    """A person who logs in; ``accounts`` are those the person can reach, the own one first."""

    id: int = Field(ge=1)
    email: str
    password: str
    accounts: tuple[int, ...] = Field(min_length=1)
    multi_factor: bool = False


class AccessToken(_Data):
    """A personal access token, with scopes such as ``emailapi:send``."""

    token: str = Field(pattern=ACCESS_TOKEN_FORM)
    accounts: tuple[int, ...] = Field(min_length=1)
    scopes: tuple[str, ...]


class Seed(_Data):
    """Everything that exists when the sandbox starts."""

    accounts: tuple[Account, ...]
    users: tuple[User, ...] = ()
    access_tokens: tuple[AccessToken, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Seed:
        known = {each.id for each in self.accounts}
        wanted = [each.accounts for each in self.users]
        wanted += [each.accounts for each in self.access_tokens]
        for number in {number for accounts in wanted for number in accounts} - known:
            raise ValueError(f"there is no account {number}")
        return self

    def account(self, number: int) -> Account:
        """The account with this number.

        Raises:
            KeyError: there is none.
        """
        for each in self.accounts:
            if each.id == number:
                return each
        raise KeyError(number)

    def user(self, email: str) -> User | None:
        """The person with this address, compared without case."""
        wanted = email.casefold()
        return next((each for each in self.users if each.email.casefold() == wanted), None)


def load(path: Path | None = None) -> Seed:
    """Read a seed file, or the packaged one.

    Raises:
        OSError: the file cannot be read.
        pydantic.ValidationError: it is no seed.
    """
    source = path or files(__package__).joinpath("seed.json")
    return Seed.model_validate_json(source.read_text(encoding="utf-8"))
