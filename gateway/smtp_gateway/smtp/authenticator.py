"""AUTH: from a mechanism's octets to a login, in aiosmtpd's contract.

The methods are asynchronous and use ``server.challenge_auth`` for further steps, so every form of
PLAIN and LOGIN works under either engine. Whoever is not known from the cache passes the lock-out
before the API is asked. A fault of the API is 454 and never 535: a wrong 535 makes people change
passwords that are right.

Delays after failures belong to the session machine, which counts them; the outcome is noted on the
session object and nowhere else.
"""

from __future__ import annotations

import asyncio
import binascii
import re
from base64 import b64decode
from typing import TYPE_CHECKING, Final

from aiosmtpd.smtp import AuthResult

from smtp_gateway.errors import (
    AuthenticationUnavailable,
    CredentialsInvalid,
    GatewayError,
    InternalError,
    LockedOut,
    MultiFactorRequired,
)
from smtp_gateway.smtp.context import admit_login, client_address, note_failure, session_id
from smtp_gateway.smtp.refusals import Refusals
from smtp_gateway.smtp.replies import (
    AUTHENTICATED,
    BAD_BASE64,
    MALFORMED_CREDENTIALS,
    Reply,
    reply_to,
)
from smtp_gateway.telemetry import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiosmtpd.smtp import Session

    from smtp_gateway.api.tokens import Login, Tokens
    from smtp_gateway.smtp.context import Server
    from smtp_gateway.smtp.lockout import Lockout
    from smtp_gateway.telemetry import Log, Metrics
    from smtp_gateway.utils.clock import Clock

ANSWER_SECONDS: Final = 10.0  # smtp-server 3.5: the API's answer to AUTH, then 454
# Octet for octet what gomail and old clients compare with (drop-in 8.1).
USERNAME_CHALLENGE: Final = "Username:"
PASSWORD_CHALLENGE: Final = "Password:"  # noqa: S105  # a prompt

LOGGED_IN: Final = AUTHENTICATED.line()
TIMEOUT: Final = "timeout"  # detail of AuthenticationUnavailable, here and in the credential cache

# User names of SparkPost and its successor name an account at their end (drop-in 3, rule 3).
_SUFFIX: Final = re.compile(
    r":(?P<keyword>x-msys-subaccount|x-bird-workspace-id)=(?P<id>[A-Za-z0-9_-]{1,64})\Z",
    re.IGNORECASE | re.ASCII,
)
_PROVIDER: Final = {"x-msys-subaccount": "sparkpost", "x-bird-workspace-id": "bird"}


_REASONS: Final[dict[type[GatewayError], str]] = {
    CredentialsInvalid: "invalid_credentials",
    MultiFactorRequired: "invalid_credentials",
    LockedOut: "locked_out",
}


class _NoCredentials(Exception):
    """The exchange ended without credentials. ``reply``: what to say; None when it was said."""

    def __init__(self, reply: Reply | None) -> None:
        super().__init__()
        self.reply = reply


class Authenticator:
    """Checks the credentials of one AUTH exchange.

    Args:
        tokens: the credential cache and the token service behind it.
        lockout: counts distinct wrong credentials.
        metrics: failures by reason, time of the whole check.
        log: one line per refused login.
        clock: for the time of the check.
        shown: a client's address as the log may have it.
        answer_seconds: how long the API may take before the client hears 454.
    """

    def __init__(
        self,
        *,
        tokens: Tokens,
        lockout: Lockout,
        metrics: Metrics,
        log: Log,
        clock: Clock,
        shown: Callable[[str], str] = str,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._tokens = tokens
        self._lockout = lockout
        self._failures = metrics.auth_failures
        self._duration = metrics.processing_duration["auth"]
        self._refusals = Refusals(log, shown)
        self._clock = clock
        self._answer_seconds = answer_seconds

    async def plain(self, server: Server, args: Sequence[str | bytes]) -> AuthResult:
        """AUTH PLAIN, with the initial response or after an empty challenge (RFC 4616)."""
        return await self._run(server, "PLAIN", _plain(server, args))

    async def login(self, server: Server, args: Sequence[str | bytes]) -> AuthResult:
        """AUTH LOGIN; .NET and smtplib send the user name with the command."""
        return await self._run(server, "LOGIN", _login(server, args))

    async def _run(
        self, server: Server, mechanism: str, exchange: Awaitable[tuple[str, str]]
    ) -> AuthResult:
        session = _session(server)
        try:
            username, password = await exchange
            name, account = split_account(username)
            login = await self._timed(client_address(session), name, password)
        except _NoCredentials as ended:
            return self._unusable(session, ended.reply)
        except GatewayError as error:
            return self._refused(session, mechanism, error)
        except Exception as error:  # noqa: BLE001  # a defect of ours is no wrong password either
            self._refusals.defect(session, f"AUTH {mechanism}", error)
            return self._refused(session, mechanism, AuthenticationUnavailable("defect"))
        admit_login(session, login, account)
        return AuthResult(success=True, message=LOGGED_IN, auth_data=login)

    async def _timed(self, address: str, username: str, password: str) -> Login:
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await self._log_in(address, username, password)
        except TimeoutError as error:
            raise AuthenticationUnavailable(TIMEOUT) from error
        finally:
            self._duration.observe(self._clock.monotonic() - began)

    async def _log_in(self, address: str, username: str, password: str) -> Login:
        if self._tokens.known(username, password) is not None:  # is never locked out
            return await self._tokens.login(username, password)
        with await self._lockout.attempt(address, username, password) as attempt:
            try:
                login = await self._tokens.login(username, password)
            except CredentialsInvalid:
                attempt.was_wrong()
                raise
            attempt.was_right()
            return login

    def _refused(self, session: Session, mechanism: str, error: GatewayError) -> AuthResult:
        self._failures[_reason(error)].inc()
        line = self._refusals.tell(Event.LOGIN_REFUSED, session, f"AUTH {mechanism}", error)
        note_failure(session, reply_to(error).text.partition("{")[0])
        return AuthResult(success=False, handled=False, message=line)

    def _unusable(self, session: Session, reply: Reply | None) -> AuthResult:
        self._failures["malformed"].inc()
        if reply is None:  # `*` or bad base64: the engine has said 501
            return AuthResult(success=False, handled=True)
        line = reply.line(session_id(session))
        return AuthResult(success=False, handled=False, message=line)


def split_account(username: str) -> tuple[str, str]:
    """The user name without a known suffix, and the account the suffix names, "" without one."""
    found = _SUFFIX.search(username)
    if found is None:
        return username, ""
    provider = _PROVIDER[found["keyword"].lower()]
    return username[: found.start()], f"{provider}:{found['id']}"


def _reason(error: GatewayError) -> str:
    if isinstance(error, AuthenticationUnavailable) and error.detail == TIMEOUT:
        return "timeout"
    return _REASONS.get(type(error), "api_error")


def _session(server: Server) -> Session:
    if server.session is None:
        raise InternalError("AUTH without a session")
    return server.session


async def _plain(server: Server, args: Sequence[str | bytes]) -> tuple[str, str]:
    response = _initial_response(args)
    if response is None:
        response = await _challenge(server, "")
    parts = response.split(b"\0")
    if len(parts) != 3:  # noqa: PLR2004  # RFC 4616 2: [authzid] NUL authcid NUL passwd
        raise _NoCredentials(MALFORMED_CREDENTIALS)
    authzid, username, password = map(_text, parts)
    if authzid not in {"", username}:  # nobody acts for somebody else here
        raise CredentialsInvalid("authorisation id differs from the user name")
    return username, password


async def _login(server: Server, args: Sequence[str | bytes]) -> tuple[str, str]:
    username = _initial_response(args)
    if username is None:
        username = await _challenge(server, USERNAME_CHALLENGE)
    password = await _challenge(server, PASSWORD_CHALLENGE)
    if b"\0" in username or b"\0" in password:  # what PLAIN could not say either
        raise _NoCredentials(MALFORMED_CREDENTIALS)
    return _text(username), _text(password)


def _initial_response(args: Sequence[str | bytes]) -> bytes | None:
    """The decoded initial response; aiosmtpd hands over the base64, our engine the octets."""
    if len(args) < 2:  # noqa: PLR2004  # the mechanism alone
        return None
    given = args[1]
    if isinstance(given, bytes):
        return given
    if given == "=":  # RFC 4954 4: an empty initial response
        return b""
    try:
        return b64decode(given, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: not ASCII
        raise _NoCredentials(BAD_BASE64) from error


async def _challenge(server: Server, text: str) -> bytes:
    answer = await server.challenge_auth(text)
    if isinstance(answer, bytes):
        return answer
    raise _NoCredentials(None)


def _text(octets: bytes) -> str:
    try:
        return octets.decode()  # RFC 4616 2: UTF-8
    except UnicodeDecodeError:
        raise _NoCredentials(MALFORMED_CREDENTIALS) from None
