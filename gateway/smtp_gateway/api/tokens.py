"""Logins: who a client is, and the bearer its calls carry.

Passwords are not kept: a bearer is renewed with its refresh token, and a client that logs in again
brings its password for a new grant. An outage never says that a password is wrong.
"""

from __future__ import annotations

import asyncio
import copy
import hmac
import re
import secrets
from functools import partial
from typing import Protocol

from smtp_gateway.api.caches import Flights, Remembered
from smtp_gateway.api.client import ApiClient
from smtp_gateway.api.credential import Credential
from smtp_gateway.api.grants import OK, Grant, describe, is_bearer, read_grant, read_standing
from smtp_gateway.api.submitter import Answer
from smtp_gateway.errors import (
    AuthenticationUnavailable,
    ClientError,
    CredentialsInvalid,
    CredentialsRevoked,
    GatewayError,
    LoginExpired,
    LookupUnavailable,
    MultiFactorRequired,
    UpstreamError,
)
from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.clock import Clock
from smtp_gateway.utils.tasks import TaskOwner


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


ACCESS_TOKEN_PREFIX = "ck_pat_"  # noqa: S105  # the prefix, no secret; cakemail-api 1.1
LOGIN_SECONDS = 10.0  # smtp-server 3.5
ACCOUNT_SECONDS = 3.0  # what a login waits for the account's standing at most
RESERVE_SECONDS = 0.5  # kept back from it, so that a right password is answered within the limit
REFUSED_LIFE_SECONDS = 60.0  # cakemail-api 1.5
ACCESS_TOKEN_LIFE_SECONDS = 86_400.0  # it has no end of its own; proved again every 5 minutes
CHECK_AGAIN_SECONDS = 60.0  # after a standing that could not be read
CAPACITY = 10_000  # credentials, about a kilobyte each

# A narrow token may not read accounts; the send will tell (cakemail-api 1.3).
_PROVED = frozenset({200, 400, 403, 404})
_UNAUTHORIZED = 401

# The form of an address, not its validity: Cakemail decides about that (cakemail-api 1.1).
_ADDRESS = re.compile(r"[^\s@<>\x00-\x1f\x7f]{1,254}@[^\s@<>\x00-\x1f\x7f]{1,254}")


class CredentialStore:
    """Implements ``Tokens``: the cache of credentials and the calls that fill it.

    Keyed by a keyed hash of user name and password together, never by the user name alone and never
    by the client's address (cakemail-api 1.5). A login that the cache cannot answer is one call,
    however many sessions want it.

    Args:
        client: the way to the API.
        clock: for lives.
        metrics: for the size of the cache.
        tasks: owner of the calls.
        login_seconds: the most that ``login`` takes.
        capacity: bound of the cache of good credentials, and of refused ones.

    Attributes:
        believed_seconds: how long a password that was good is taken again without asking; None
            for as long as its token lives. May be changed at any time.
    """

    def __init__(
        self,
        client: ApiClient,
        clock: Clock,
        metrics: Metrics,
        tasks: TaskOwner,
        *,
        login_seconds: float = LOGIN_SECONDS,
        capacity: int = CAPACITY,
    ) -> None:
        self._client = client
        self._clock = clock
        self._size = metrics.api_key_cache_size
        self._login_seconds = login_seconds
        self.believed_seconds: float | None = None
        self._secret = secrets.token_bytes(32)
        self._good: Remembered[bytes, Credential] = Remembered(clock, capacity=capacity)
        self._refused: Remembered[bytes, ClientError] = Remembered(clock, capacity=capacity)
        self._flights: Flights[bytes, Credential] = Flights(tasks, "login")

    def known(self, username: str, password: str) -> Login | None:
        """See ``Tokens``."""
        key = self._key(username, password)
        credential = None if key is None else self._good.get(key)
        return credential if credential is not None and self._believes(credential) else None

    async def login(self, username: str, password: str) -> Login:
        """See ``Tokens``; ends within ``login_seconds``."""
        key = self._key(username, password)
        if key is None or not _is_plausible(username, password):
            raise CredentialsInvalid("not of a form that could be right")
        credential = self._good.get(key)
        if credential is not None and self._believes(credential) and not credential.wants_check:
            return credential
        refusal = self._refused.get(key)
        if refusal is not None:
            raise copy.copy(refusal)
        return await self._enter(key, username, password)

    def _believes(self, credential: Credential) -> bool:
        """May be answered from the cache, without the password."""
        age = self._clock.monotonic() - credential.proved_at
        is_young = self.believed_seconds is None or age < self.believed_seconds
        return is_young and credential.is_fresh

    async def _enter(self, key: bytes, username: str, password: str) -> Credential:
        work = partial(self._open, key, username, password)
        try:
            async with asyncio.timeout(self._login_seconds):
                try:
                    return await self._flights.join(key, work)
                except CredentialsRevoked:
                    # Joined a renewal whose refresh token was refused; the password may be right.
                    return await self._flights.join(key, work)
        except TimeoutError:
            failure = "timeout"
        except UpstreamError as error:
            failure = error.detail
        raise AuthenticationUnavailable(failure)

    async def _open(self, key: bytes, username: str, password: str) -> Credential:
        credential = self._good.get(key)
        try:
            if credential is not None and await self._still_holds(credential):
                return credential
            if password.startswith(ACCESS_TOKEN_PREFIX):
                return await self._prove(key, password)
            return await self._grant(key, username, password)
        except (CredentialsInvalid, MultiFactorRequired) as refusal:
            if credential is not None:
                credential.forget()
            self._refused.put(key, copy.copy(refusal), life_seconds=REFUSED_LIFE_SECONDS)
            raise

    async def _prove(self, key: bytes, token: str) -> Credential:
        answer = await self._self(token, self._login_seconds)
        if answer.status == _UNAUTHORIZED:
            raise CredentialsInvalid(describe(answer))
        if answer.status not in _PROVED:
            raise AuthenticationUnavailable(describe(answer))
        credential = Credential(key, self, self._clock, access_token=token)
        self._judge(credential, answer)
        return self._keep(credential, ACCESS_TOKEN_LIFE_SECONDS)

    async def _grant(self, key: bytes, username: str, password: str) -> Credential:
        begun = self._clock.monotonic()
        grant = await self._token(grant_type="password", username=username, password=password)
        # Sessions that hold the credential already get the new token too.
        credential = self._good.get(key) or Credential(key, self, self._clock)
        credential.proved_at = self._clock.monotonic()
        credential.take(grant)
        left = self._login_seconds - RESERVE_SECONDS - (self._clock.monotonic() - begun)
        await self._inspect(credential, min(ACCOUNT_SECONDS, left))
        return self._keep(credential, grant.life_seconds)

    async def _inspect(self, credential: Credential, seconds: float) -> None:
        """Look whether the account may send; a failure refuses nothing (cakemail-api 7.6)."""
        if not credential.wants_check:
            return
        credential.judge(None, again_seconds=CHECK_AGAIN_SECONDS)
        if seconds <= 0:
            return
        try:
            answer = await self._self(credential.current_bearer, seconds)
        except UpstreamError:  # counted by the client; the send will tell
            return
        self._judge(credential, answer)

    async def _still_holds(self, credential: Credential) -> bool:
        """Ask for an old standing again; False if the bearer is due, refused or revoked."""
        if not (self._believes(credential) and credential.wants_check):
            return self._believes(credential)
        try:
            answer = await self._self(credential.current_bearer, ACCOUNT_SECONDS)
        except UpstreamError:  # counted by the client; what was known stays
            credential.judge(None, again_seconds=CHECK_AGAIN_SECONDS)
            return credential.is_fresh
        self._judge(credential, answer)
        return answer.status != _UNAUTHORIZED and credential.is_fresh

    def _judge(self, credential: Credential, answer: Answer) -> None:
        if answer.status in _PROVED - {OK}:
            credential.judge(None)  # may not read accounts: asking more often tells no more
            return
        standing = read_standing(answer.body) if answer.status == OK else None
        if standing is None:
            credential.judge(None, again_seconds=CHECK_AGAIN_SECONDS)
            return
        credential.judge(standing)

    async def renew(self, credential: Credential) -> None:
        """Give a credential a new bearer; errors of ``Login.bearer``."""
        try:
            result = await self._flights.join(credential.key, partial(self._refresh, credential))
        except (CredentialsInvalid, MultiFactorRequired) as refusal:
            # Joined a login whose password was refused.
            failure: GatewayError = CredentialsRevoked(refusal.detail)
        except UpstreamError as error:
            credential.postpone()
            if credential.is_alive:
                return
            failure = LookupUnavailable(error.detail)
        else:
            if result is not credential:
                credential.adopt(result)
            return
        raise failure

    async def _refresh(self, credential: Credential) -> Credential:
        if credential.is_access_token:
            credential.forget()
            raise CredentialsRevoked("an access token is not renewed")
        if not credential.refresh_token:
            credential.expire()
            raise LoginExpired("nothing to renew it with")
        try:
            grant = await self._token(
                grant_type="refresh_token", refresh_token=credential.refresh_token
            )
        except (CredentialsInvalid, MultiFactorRequired) as refusal:
            credential.expire()
            raise LoginExpired(refusal.detail) from refusal
        credential.take(grant)
        return self._keep(credential, grant.life_seconds)

    def drop(self, credential: Credential) -> None:
        """Take a credential out of the cache, if it is the one that is there."""
        if self._good.get(credential.key) is credential:
            self._good.drop(credential.key)
        self._size.set(len(self._good))

    def _keep(self, credential: Credential, life_seconds: float) -> Credential:
        if not credential.is_revoked:  # it may have been forgotten while the answer was under way
            self._good.put(credential.key, credential, life_seconds=life_seconds)
        self._size.set(len(self._good))
        return credential

    async def _token(self, **form: str) -> Grant:
        answer = await self._client.post_form(form, timeout_seconds=self._login_seconds)
        try:
            return read_grant(answer, now_wall=self._clock.wall())
        except AuthenticationUnavailable:
            if answer.status == OK:
                self._client.note_unreadable()
            raise

    async def _self(self, bearer: str, seconds: float) -> Answer:
        return await self._client.get(
            "/accounts/self", bearer=bearer, endpoint="auth", timeout_seconds=seconds
        )

    def _key(self, username: str, password: str) -> bytes | None:
        """Keyed hash of both together; None for texts that cannot be sent as UTF-8."""
        try:
            text = f"{username}\0{password}".encode()
        except UnicodeEncodeError:  # surrogates: nothing that a form could carry
            return None
        return hmac.digest(self._secret, text, "sha256")


def _is_plausible(username: str, password: str) -> bool:
    if "\0" in username or "\0" in password:
        return False  # the separator of the key, and never part of a login (RFC 4616 2)
    if password.startswith(ACCESS_TOKEN_PREFIX):
        return is_bearer(password)
    return _ADDRESS.fullmatch(username) is not None
