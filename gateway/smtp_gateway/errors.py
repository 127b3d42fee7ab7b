"""What can go wrong with a message, as classes.

An error here knows three things: its *fate* (may the client repeat?), whose *fault* it is (which
log level), and the *facts* a reply may show. The reply itself stands in ``smtp/replies.py``, in one
table; a test walks every class below and fails on one without a row there.

    GatewayError                        fate       fault
    |- ClientError
    |  |- CredentialsInvalid            permanent  client    wrong user name or password
    |  |- CredentialsRevoked            permanent  client    refused again after a renewed login
    |  |  '- LoginExpired               temporary  client    cannot be renewed; a new AUTH can
    |  |- MultiFactorRequired           permanent  client    a person's login; needs an access token
    |  |- LockedOut                     temporary  client    too many distinct wrong secrets
    |  |- NotPermitted                  permanent  client    this login may not do this
    |  |- SenderNotVerified             permanent  client    From is no confirmed sender
    |  |- RateLimited                   temporary  client    our own limit, per client address
    |  '- CapacityExceeded              temporary  ours      no memory, connection or slot now
    |- MessageError
    |  |- MessageTooLarge               permanent  client
    |  |- MessageTooComplex             permanent  client    MIME depth, parts, header section
    |  |- RoutingLoop                   permanent  client    over 100 Received fields
    |  |- MessageUnreadable             permanent  client    forbidden line ends, NUL
    |  |- HeaderInvalid                 permanent  client    a header that steers cannot be obeyed
    |  '- PartUnsupported               permanent  client    an attachment the API cannot carry
    |- UpstreamError
    |  |- AuthenticationUnavailable     temporary  upstream  the login could not be checked
    |  |- LookupUnavailable             temporary  upstream  sender, list, account: nothing sent
    |  |- Throttled                     temporary  upstream  429; may hold a delay
    |  |- Unreachable                   temporary  upstream  resolve, connect, TLS: nothing sent
    |  |- Unavailable                   temporary  upstream  503, breaker, deadline before the call
    |  |- NotSent                       temporary  upstream  201 with status `error`
    |  |- NotConfirmed                  ambiguous  upstream  may have been accepted
    |  |- RequestMisdirected            temporary  ours      404, 405, 406, 415: wrong base URL
    |  |- RecipientRefused              permanent  client    422 about `email`
    |  |- SenderRefused                 permanent  client    422 about `sender`
    |  |- AttachmentRefused             permanent  client    422 about `attachment`
    |  |- ContentRefused                permanent  client    any other 400, 422
    |  |- SubmissionForbidden           permanent  client    403, Forbidden, 201 `rejected`
    |  |- ConfigurationRefused          permanent  ours      list or policy not usable
    |  '- RequestTooLarge               permanent  client    413
    '- InternalError                    temporary  ours      our own defect; unknown means temporary

    ConfigurationError                  stands outside: ends the program before a port opens
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class Fate(Enum):
    """May the client repeat, and may the mail already be there?"""

    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    AMBIGUOUS = "ambiguous"


class Fault(Enum):
    """Whose fault decides the log level: info, warning, error."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    OURS = "ours"


class GatewayError(Exception):
    """Base of all errors with a reply.

    Attributes:
        detail: text for the log, never for a client. It holds no address and no secret.
        facts: values that the reply's template may show, for example ``header`` and ``reason``.
            They pass the filter of ``smtp/replies.py`` before they leave.
        fate: derived once, here; the reply's digits follow from the table and a test compares.
    """

    fate: ClassVar[Fate] = Fate.TEMPORARY
    fault: ClassVar[Fault] = Fault.OURS

    def __init__(self, detail: str = "", **facts: str | float) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes: errors of the parsing worker are raised in the gateway."""
        return (_rebuild, (type(self), self.detail, self.facts))


def _rebuild(kind: type[GatewayError], detail: str, facts: dict[str, str | float]) -> GatewayError:
    return kind(detail, **facts)


class ClientError(GatewayError):
    """The client asked for what it may not have, or not now."""

    fate = Fate.PERMANENT
    fault = Fault.CLIENT


class CredentialsInvalid(ClientError):
    """The user name or the password is wrong."""


class CredentialsRevoked(ClientError):
    """The API refused the bearer, and again after one renewed login."""


class LoginExpired(CredentialsRevoked):
    """The login ended and could not be renewed. The password is not kept: a new AUTH brings it."""

    fate = Fate.TEMPORARY


class MultiFactorRequired(ClientError):
    """The account asks for a second factor, which SMTP cannot give."""


class LockedOut(ClientError):
    """Too many distinct wrong secrets from this client (smtp-server 3.7). Fact: ``seconds``."""

    fate = Fate.TEMPORARY


class NotPermitted(ClientError):
    """This login may not do this. Fact: ``reason``."""


class SenderNotVerified(ClientError):
    """The From address is no confirmed sender. Fact: ``address``, as the client wrote it."""


class RateLimited(ClientError):
    """Our own limit per client address. Fact: ``seconds`` until it passes."""

    fate = Fate.TEMPORARY


class CapacityExceeded(ClientError):
    """No room now: memory or slots. Refused before anything was taken."""

    fate = Fate.TEMPORARY
    fault = Fault.OURS


class MessageError(GatewayError):
    """The message itself cannot be carried."""

    fate = Fate.PERMANENT
    fault = Fault.CLIENT


class MessageTooLarge(MessageError):
    """Over the size limit. Fact: ``limit``, octets."""


class MessageTooComplex(MessageError):
    """Over the bounds of depth, parts or header section. Fact: ``reason``."""


class RoutingLoop(MessageError):
    """More than 100 Received fields (RFC 5321 6.3)."""


class MessageUnreadable(MessageError):
    """Bytes that no reader agrees about. Fact: ``reason``."""


class HeaderInvalid(MessageError):
    """A header that decides what is sent cannot be obeyed. Facts: ``header``, ``reason``."""


class PartUnsupported(MessageError):
    """A part the API cannot carry. Facts: ``part`` (type and file name), ``reason``."""


class UpstreamError(GatewayError):
    """The API's answer, or its absence.

    Facts used by many: ``excerpt``, the filtered words of the API about a refusal.
    """

    fate = Fate.TEMPORARY
    fault = Fault.UPSTREAM


class AuthenticationUnavailable(UpstreamError):
    """The login could not be checked now: never the client's fault."""


class LookupUnavailable(UpstreamError):
    """Sender, list or account could not be looked up; nothing was sent."""


class Throttled(UpstreamError):
    """429, or a used-up quota. Fact: ``seconds``, 0 when unknown."""


class Unreachable(UpstreamError):
    """Resolve, connect or TLS failed: certainly nothing was sent."""


class Unavailable(UpstreamError):
    """503, an open breaker, draining, or the deadline passed before the call began."""


class NotSent(UpstreamError):
    """201 with status `error`: the API says that the mail was not sent."""


class NotConfirmed(UpstreamError):
    """The request may have been accepted; nobody knows yet."""

    fate = Fate.AMBIGUOUS


class RequestMisdirected(UpstreamError):
    """404, 405, 406, 415: a wrong base URL, or a defect of ours."""

    fault = Fault.OURS


class RefusedUpstream(UpstreamError):
    """The API refused this mail for good. Fact: ``excerpt``."""

    fate = Fate.PERMANENT
    fault = Fault.CLIENT


class RecipientRefused(RefusedUpstream):
    """422 about `email`."""


class SenderRefused(RefusedUpstream):
    """422 about `sender`."""


class AttachmentRefused(RefusedUpstream):
    """422 about `attachment`."""


class ContentRefused(RefusedUpstream):
    """Any other 400 or 422."""


class SubmissionForbidden(RefusedUpstream):
    """403, "Forbidden", 201 `rejected`, a sender that is not confirmed."""


class ConfigurationRefused(RefusedUpstream):
    """The list or its policy is not usable: the operator has to act."""

    fault = Fault.OURS


class RequestTooLarge(RefusedUpstream):
    """413."""


class InternalError(GatewayError):
    """Our own defect. Unknown means temporary, and the text is fixed."""


class ConfigurationError(Exception):
    """The settings do not hold together. ``problems``: one clear line per fault, secrets masked."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
