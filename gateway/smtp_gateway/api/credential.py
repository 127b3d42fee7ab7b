"""One credential that was found good, as the sessions that share it see it."""

from __future__ import annotations

import copy
import math
from typing import Protocol

from smtp_gateway.api.grants import Grant, Standing
from smtp_gateway.errors import CredentialsRevoked, GatewayError, LoginExpired
from smtp_gateway.utils.clock import Clock

RENEW_BEFORE_SECONDS = 300.0  # cakemail-api 1.2
RENEW_AGAIN_SECONDS = 10.0  # after a renewal that failed while the old bearer still holds
STANDING_SECONDS = 300.0  # cakemail-api 1.5: account


class Renewer(Protocol):
    """What a credential needs of the store that keeps it."""

    async def renew(self, credential: Credential) -> None:
        """Give it a new bearer, one renewal at a time; errors of ``Login.bearer``."""
        ...

    def drop(self, credential: Credential) -> None:
        """Forget it."""
        ...


class Credential:
    """Implements ``Login``; attributes are explained there.

    The password is not here: a renewal uses the refresh token. When that is refused, the client
    has to log in again, and its AUTH brings the password for a new grant.

    Attributes:
        proved_at: when the API last took the password itself, monotonic.
    """

    __slots__ = (
        "_bearer",
        "_check_at",
        "_clock",
        "_ends_at",
        "_renew_at",
        "_renewer",
        "is_access_token",
        "key",
        "own_account_id",
        "proved_at",
        "reachable_accounts",
        "refresh_token",
        "refusal",
    )

    def __init__(
        self, key: bytes, renewer: Renewer, clock: Clock, *, access_token: str = ""
    ) -> None:
        self.key = key
        self.own_account_id: int | None = None
        self.reachable_accounts: frozenset[int] = frozenset()
        self.refusal: GatewayError | None = None
        self.is_access_token = bool(access_token)
        self.refresh_token = ""
        self._bearer = access_token
        self._renewer = renewer
        self._clock = clock
        self._renew_at = self._ends_at = math.inf
        self._check_at = -math.inf
        self.proved_at = clock.monotonic()

    def __repr__(self) -> str:
        return "<Credential>"

    @property
    def is_revoked(self) -> bool:
        """Refused for good; it never comes back, a new login makes a new one."""
        return isinstance(self.refusal, CredentialsRevoked)

    @property
    def is_fresh(self) -> bool:
        """May be answered from the cache: neither revoked nor due for renewal."""
        return not self.is_revoked and self._clock.monotonic() < self._renew_at

    @property
    def is_alive(self) -> bool:
        """The bearer has not ended, as far as its announced life tells."""
        return self._clock.monotonic() < self._ends_at

    @property
    def wants_check(self) -> bool:
        """The account's standing is unknown or old."""
        return self._clock.monotonic() >= self._check_at

    @property
    def current_bearer(self) -> str:
        """The bearer as it is, ended or not."""
        return self._bearer

    def take(self, grant: Grant) -> None:
        """Carry a new token; the newest refresh token counts (cakemail-api 1.2)."""
        now = self._clock.monotonic()
        self._bearer = grant.access_token
        self.refresh_token = grant.refresh_token or self.refresh_token
        self._ends_at = now + grant.life_seconds
        # A life of few minutes is renewed at its half, or it would be renewed at every call.
        self._renew_at = self._ends_at - min(RENEW_BEFORE_SECONDS, grant.life_seconds / 2)
        self.own_account_id = grant.account_id or self.own_account_id
        self.reachable_accounts = grant.accounts

    def adopt(self, other: Credential) -> None:
        """Carry the token of a younger credential with the same key."""
        self._bearer = other._bearer
        self.refresh_token = other.refresh_token
        self._ends_at, self._renew_at = other._ends_at, other._renew_at

    def postpone(self) -> None:
        """A renewal failed: not again at once, but always when the bearer has ended."""
        self._renew_at = min(self._clock.monotonic() + RENEW_AGAIN_SECONDS, self._ends_at)

    def judge(self, standing: Standing | None, *, again_seconds: float = STANDING_SECONDS) -> None:
        """Note the account's standing; None leaves what was known."""
        self._check_at = self._clock.monotonic() + again_seconds
        if standing is not None and not self.is_revoked:
            self.own_account_id = standing.account_id or self.own_account_id
            self.refusal = standing.refusal

    async def bearer(self) -> str:
        """See ``Login``."""
        if not self.is_fresh:
            self._raise_if_revoked()
            await self._renewer.renew(self)
        return self._bearer

    async def renewed(self, refused_bearer: str) -> str:
        """See ``Login``."""
        self._raise_if_revoked()
        if self._bearer == refused_bearer:
            self._ends_at = self._renew_at = -math.inf  # refused is as good as ended
            await self._renewer.renew(self)
        if self._bearer == refused_bearer:
            self.forget()
            self._raise_if_revoked()
        return self._bearer

    def forget(self) -> None:
        """See ``Login``."""
        self.refusal = CredentialsRevoked("forgotten")
        self._renewer.drop(self)

    def expire(self) -> None:
        """Nothing renews it any more: dropped, but the client's next AUTH may be good."""
        self.refusal = LoginExpired("not renewed")
        self._renewer.drop(self)

    def _raise_if_revoked(self) -> None:
        if self.refusal is not None and self.is_revoked:
            raise copy.copy(self.refusal)
