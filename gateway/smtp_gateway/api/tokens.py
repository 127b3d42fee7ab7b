"""Logins: who a client is, and the bearer its calls carry."""

from __future__ import annotations

from typing import Protocol

from smtp_gateway.errors import GatewayError


class Login(Protocol):
    """One authenticated credential, shared by all sessions that gave the same user and password.

    Attributes:
        key: keyed hash of user name and password together; safe to keep and to compare.
        own_account_id: account of the login; None when not known (access token).
        reachable_accounts: numbers the login can select without a test.
        refusal: why this login may not send at all (answered at MAIL), or None.
        is_access_token: the password was a ``ck_pat_`` token, which is the bearer itself.
    """

    key: bytes
    own_account_id: int | None
    reachable_accounts: frozenset[int]
    refusal: GatewayError | None
    is_access_token: bool

    async def bearer(self) -> str:
        """A bearer that is valid now; renewed before its end, one renewal at a time.

        Raises:
            CredentialsRevoked: the login no longer holds.
            LookupUnavailable: the token service did not answer.
        """
        ...

    async def renewed(self, refused_bearer: str) -> str:
        """A bearer other than the one just refused with 401; same errors as ``bearer``."""
        ...

    def forget(self) -> None:
        """Drop the credential from the cache: refused again after a renewal."""
        ...


class Tokens(Protocol):
    """The only way in."""

    def known(self, username: str, password: str) -> Login | None:
        """The login of a credential in the positive cache, without any call; else None.

        The lock-out asks this first: it never refuses a credential that is known to be good.
        """
        ...

    async def login(self, username: str, password: str) -> Login:
        """Log in against Cakemail, or answer from the cache.

        Raises:
            CredentialsInvalid: wrong, or the user name has not the form of an address.
            MultiFactorRequired: the account asks for a second factor.
            AuthenticationUnavailable: not checked; never the client's fault.
        """
        ...
