"""The gateway's hooks, in aiosmtpd's handler contract: each decides, and says one reply.

Nothing of SMTP's grammar is here, and nothing of the API: the engine, ours or aiosmtpd's, has read
the commands, and ``Courier`` delivers. The login is asked of the session at every step, although
the engine asks too: a relay is open as soon as one place forgets.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Final

from smtp_gateway.delivery import Courier, Letter
from smtp_gateway.errors import (
    GatewayError,
    LoginExpired,
    MessageTooLarge,
    NotPermitted,
    RateLimited,
)
from smtp_gateway.smtp import context
from smtp_gateway.smtp.refusals import Refusals
from smtp_gateway.smtp.replies import (
    ADDRESS_NOT_QUALIFIED,
    BAD_ADDRESS,
    CANNOT_VERIFY,
    DEFECT,
    LOGIN_EXPIRED,
    LOGIN_FAILED_BEFORE,
    LOGIN_FIRST,
    NO_POSTMASTER,
    NOT_ASCII,
    OK,
    TOO_MANY_RECIPIENTS,
    Reply,
    reply_for,
)
from smtp_gateway.telemetry import Event
from smtp_gateway.utils.stack import stack_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiosmtpd.smtp import AuthResult, Envelope, Session

    from smtp_gateway.api.tokens import Login
    from smtp_gateway.policy import Policy, PolicyHolder
    from smtp_gateway.smtp.authenticator import Authenticator
    from smtp_gateway.smtp.context import Server
    from smtp_gateway.smtp.limits import MailRate
    from smtp_gateway.telemetry import Log, Metrics
    from smtp_gateway.utils.clock import Clock

DONE: Final = OK.line()
NULL_SENDER: Final = "<>"  # how the null reverse path arrives in this contract
SIZE_DIGITS: Final = 20  # RFC 1870 3
POSTMASTER: Final = "postmaster"  # RFC 5321 4.5.1: in any case, without a domain


class GatewayHandler:
    """What the engine calls.

    Args:
        authenticator: checks logins.
        courier: admits and delivers.
        policies: holds the current policy; a transaction keeps the one it found at MAIL.
        rate: mails a minute per client address.
        metrics: refusals for the rate.
        log: one line per refusal before delivery; delivery itself writes the message's line.
        shown: a client's address as the log may have it.
        clock: for the moment of the final dot, where the engine does not tell it.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        courier: Courier,
        policies: PolicyHolder,
        rate: MailRate,
        metrics: Metrics,
        log: Log,
        clock: Clock,
        shown: Callable[[str], str] = str,
    ) -> None:
        self._authenticator = authenticator
        self._courier = courier
        self._policies = policies
        self._rate = rate
        self._rate_refusals = metrics.admission_refusals["rate"]
        self._log = log
        self._refusals = Refusals(log, shown)
        self._clock = clock

    # aiosmtpd reads the mechanisms from these names.
    async def auth_PLAIN(self, server: Server, args: list[str]) -> AuthResult:
        """AUTH PLAIN."""
        return await self._authenticator.plain(server, args)

    async def auth_LOGIN(self, server: Server, args: list[str]) -> AuthResult:
        """AUTH LOGIN."""
        return await self._authenticator.login(server, args)

    async def handle_EHLO(
        self, _server: Server, session: Session, _envelope: Envelope, name: str, lines: list[str]
    ) -> list[str]:
        """The engine knows what it offers; any name is fine (drop-in 8.1)."""
        session.host_name = name
        return lines

    async def handle_HELO(
        self, server: Server, session: Session, _envelope: Envelope, name: str
    ) -> str:
        """As EHLO, without extensions."""
        session.host_name = name
        return f"250 {server.hostname}"

    async def handle_VRFY(
        self, _server: Server, session: Session, _envelope: Envelope, _argument: str
    ) -> str:
        """252 for anything, after login only (RFC 5321 3.5.3, 7.3)."""
        if context.login_of(session) is None:
            return self._login_first(session)
        return CANNOT_VERIFY.line()

    async def handle_MAIL(
        self,
        _server: Server,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Begin a transaction, or refuse early what would be refused after the upload."""
        login = context.login_of(session)
        if login is None:
            return self._login_first(session)
        if isinstance(login.refusal, LoginExpired):
            # A pool of connections would go on with this one; the next one logs in anew.
            return self._no(session, LOGIN_EXPIRED)
        if login.refusal is not None:  # told, not raised: the object serves many sessions
            return self._refused(session, "MAIL", login.refusal)
        policy = context.policy_of(envelope, self._policies.current)
        try:
            self._admit(session, login, policy, options)
        except GatewayError as error:
            return self._refused(session, "MAIL", error)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return DONE

    def _admit(
        self, session: Session, login: Login, policy: Policy, options: Sequence[str]
    ) -> None:
        account = context.account_key(session)
        if account:  # drop-in 3: the login is right, the account it names is not known here
            raise NotPermitted(reason=f"account {account} is not known here")
        try:
            self._rate.take(context.client_address(session), policy.rate_limit_per_ip)
        except RateLimited:
            self._rate_refusals.inc()
            raise
        self._courier.admit(login)
        if _declared_bytes(options) > policy.message_size_limit_bytes:  # RFC 1870 6.1
            raise MessageTooLarge(limit=policy.message_size_limit_bytes)

    async def handle_RCPT(
        self,
        _server: Server,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Take a recipient; only form and certain limits refuse one (smtp-server 3.2)."""
        if context.login_of(session) is None:
            return self._login_first(session)
        policy = context.policy_of(envelope, self._policies.current)
        if len(envelope.rcpt_tos) >= policy.max_recipients:
            # RFC 5321 4.5.3.1.10: never 5xx, relays split and come again.
            return self._no(session, TOO_MANY_RECIPIENTS, limit=policy.max_recipients)
        local, at, _ = address.rpartition("@")
        if not at:
            return self._bare_recipient(session, envelope, policy, address)
        if not local.isascii():  # no client of the API takes one (cakemail-api 7.2)
            return self._no(session, NOT_ASCII)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return DONE

    def _bare_recipient(
        self, session: Session, envelope: Envelope, policy: Policy, address: str
    ) -> str:
        if address == NULL_SENDER:  # never a recipient; aiosmtpd lets it through
            return self._no(session, BAD_ADDRESS)
        if address.lower() != POSTMASTER:
            return self._no(session, ADDRESS_NOT_QUALIFIED)  # RFC 6409 4.2
        if not policy.postmaster:
            return self._no(session, NO_POSTMASTER)
        envelope.rcpt_tos.append(policy.postmaster)
        return DONE

    async def handle_DATA(self, _server: Server, session: Session, envelope: Envelope) -> str:
        """Deliver; 250 only when every recipient has a definite answer (smtp-server 4.1)."""
        login = context.login_of(session)
        policy = context.policy_of(envelope, self._policies.current)
        if login is None:
            return self._login_first(session)
        if len(envelope.original_content or b"") > policy.message_size_limit_bytes:
            too_large = MessageTooLarge(limit=policy.message_size_limit_bytes)
            return self._refused(session, "DATA", too_large)
        try:
            receipt = await self._courier.deliver(self._letter(session, envelope, login), policy)
        except GatewayError as error:  # delivery has written the message's line
            return reply_for(error, context.session_id(session))
        except Exception as error:  # noqa: BLE001  # handle_exception could not name the session
            return self._refusals.defect(session, "DATA", error)
        # This form alone is understood by Symfony and PHPMailer both (drop-in 4.1).
        return f"250 Ok {receipt.id}"

    def _letter(self, session: Session, envelope: Envelope, login: Login) -> Letter:
        sender = envelope.mail_from or ""
        return Letter(
            login=login,
            mail_from="" if sender == NULL_SENDER else sender,
            recipients=tuple(envelope.rcpt_tos),
            content=envelope.original_content or b"",
            session_id=context.session_id(session),
            message_id=str(uuid.uuid4()),
            received_monotonic=context.received_monotonic(envelope, self._clock.monotonic()),
            on_settled=context.take_settled(envelope),
            client_there=partial(context.client_there, session),
        )

    async def handle_exception(self, error: BaseException) -> str:
        """A hook failed: our own defect, so temporary, with a fixed text."""
        self._log.error(Event.HOOK_FAILED, stack=stack_of(error))
        return DEFECT.line()

    def _login_first(self, session: Session) -> str:
        """530, with the reason of a failed login, which .NET shows its user only here."""
        failure = context.login_failure(session)
        if failure:
            return self._no(session, LOGIN_FAILED_BEFORE, reason=failure)
        return self._no(session, LOGIN_FIRST)

    def _refused(self, session: Session, command: str, error: GatewayError) -> str:
        return self._refusals.tell(Event.COMMAND_REFUSED, session, command, error)

    def _no(self, session: Session, reply: Reply, **facts: str | float) -> str:
        reference = context.session_id(session)
        self._log.info(
            Event.COMMAND_REFUSED, session=reference, code=reply.code, enhanced=reply.enhanced
        )
        return reply.line(reference, **facts)


def _declared_bytes(options: Sequence[str]) -> int:
    """The value of SIZE, 0 without one; aiosmtpd and our engine have checked its form."""
    for option in options:
        keyword, _, value = option.partition("=")
        if keyword.upper() == "SIZE" and value.isdecimal() and len(value) <= SIZE_DIGITS:
            return int(value)
    return 0
