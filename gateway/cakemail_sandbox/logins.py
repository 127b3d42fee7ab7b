"""Who is calling: password and refresh grants, bearer tokens, access tokens.

Bearer tokens have the form of the service's (RS256 JWT with its claims) so that a client that reads
``exp`` or ``account_id`` from one can do so. The signature is of the right length and otherwise
random: nothing here or there may trust it. Validity is a look-up in what was issued.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from cakemail_sandbox.seed import Seed, User

_SIGNATURE_BYTES = 256  # RSA with 2,048 bits


@dataclass(frozen=True, slots=True)
class Login:
    """The caller of one request. ``scopes``: none means that everything is allowed."""

    name: str
    accounts: tuple[int, ...]
    scopes: frozenset[str] | None = None

    @property
    def account_id(self) -> int:
        """The login's own account."""
        return self.accounts[0]

    def may(self, scope: str) -> bool:
        """Whether this scope is included; the right to send includes the right to look mails up."""
        if self.scopes is None or scope in self.scopes:
            return True
        return scope == "emailapi:read" and "emailapi:send" in self.scopes


@dataclass(frozen=True, slots=True)
class Grant:
    """What a successful login gives."""

    access_token: str
    refresh_token: str
    expires_in: int
    accounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Issued:
    user: User
    expires_at: float


class Logins:
    """Issues and checks; ``now`` gives seconds since 1970."""

    def __init__(self, seed: Seed, now: Callable[[], float]) -> None:
        self._seed = seed
        self._now = now
        self._bearers: dict[str, _Issued] = {}
        self._refreshers: dict[str, User] = {}
        self._access_tokens = {each.token: each for each in seed.access_tokens}
        self._revoked: set[str] = set()

    def by_password(self, username: str, password: str) -> User | None:
        """The person, if both are right."""
        user = self._seed.user(username)
        if user is None:
            return None
        right = secrets.compare_digest(user.password.encode(), password.encode())
        return user if right else None

    def by_refresh_token(self, token: str, *, replaced: bool) -> User | None:
        """The person whose refresh token this is; ``replaced``: it does not work again."""
        return self._refreshers.pop(token, None) if replaced else self._refreshers.get(token)

    def issue(self, user: User, *, account_id: int, expires_in: int) -> Grant:
        """Make the tokens of one login."""
        now = self._now()
        others = tuple(each for each in user.accounts if each != account_id)
        accounts = (account_id, *others)
        bearer = self._signed(user, accounts, now, expires_in)
        self._bearers[bearer] = _Issued(
            user.model_copy(update={"accounts": accounts}), now + expires_in
        )
        refresher = secrets.token_urlsafe(48)
        self._refreshers[refresher] = user
        return Grant(bearer, refresher, expires_in, accounts)

    def authenticate(self, authorization: str) -> Login | None:
        """The caller behind an ``Authorization`` field; none when it does not count (any more)."""
        scheme, _, bearer = authorization.partition(" ")
        if scheme.lower() != "bearer" or bearer in self._revoked:
            return None
        access = self._access_tokens.get(bearer)
        if access is not None:
            return Login(f"token …{bearer[-4:]}", access.accounts, frozenset(access.scopes))
        issued = self._bearers.get(bearer)
        if issued is None or issued.expires_at <= self._now():
            return None
        return Login(issued.user.email, issued.user.accounts)

    def revoke(self, authorization: str) -> None:
        """From now on this bearer is refused."""
        self._revoked.add(authorization.partition(" ")[2])

    def expire(self, *, refresh_tokens: bool) -> int:
        """All login tokens end now; with ``refresh_tokens`` those too. Returns how many ended."""
        ended = len(self._bearers)
        self._bearers.clear()
        if refresh_tokens:
            self._refreshers.clear()
        return ended

    def _signed(self, user: User, accounts: tuple[int, ...], now: float, expires_in: int) -> str:
        head = {"alg": "RS256", "typ": "JWT"}
        claims = {
            "iss": "urn:cakemail",
            "id": user.id,
            "account_id": accounts[0],
            "accounts": list(accounts),
            "email": user.email,
            "exp": int(now) + expires_in,
            "iat": int(now),
            "lineage": self._seed.account(accounts[0]).lineage,
            "scopes": ["user"],
        }
        parts = (json.dumps(head).encode(), json.dumps(claims).encode())
        signature = secrets.token_bytes(_SIGNATURE_BYTES)
        return ".".join(_base64url(each) for each in (*parts, signature))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
