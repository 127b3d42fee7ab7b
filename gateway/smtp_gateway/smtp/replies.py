"""Every reply to a client, in tables: what is said, with which digits, through one filter.

An exception's text never reaches a client. What comes from outside (the API's words, a header's
name, an address) is a *fact* of the error, and passes ``public_text`` before it stands in a reply.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from smtp_gateway import errors
from smtp_gateway.errors import GatewayError

MAX_REPLY_OCTETS = 512  # with CRLF, RFC 5321 4.5.3.1.5
MAX_FACT_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: ``code`` (RFC 5321 4.2), enhanced code (RFC 3463) or "", and a text template."""

    code: int
    enhanced: str
    text: str

    def line(self, reference: str = "", **facts: str | float) -> str:
        """The reply without CRLF; errors end in ``[reference]`` so a screenshot finds the log.

        ``facts`` fill the template after passing ``public_text``.
        """
        shown = {name: public_text(str(value)) for name, value in facts.items()}
        # The last fact may be missing: "Message refused: {excerpt}" then ends at its phrase.
        text = self.text.format_map(_Facts(shown)).strip(" :")
        words = [str(self.code), *([self.enhanced] if self.enhanced else []), text]
        suffix = f" [{reference}]" if reference and self.code >= 400 else ""  # noqa: PLR2004  # 4yz, 5yz
        room = MAX_REPLY_OCTETS - 2 - len(suffix)
        return " ".join(words)[:room].rstrip(" ") + suffix


class _Facts(dict[str, str]):
    """A missing fact leaves nothing behind, so a template never fails in front of a client."""

    def __missing__(self, key: str) -> str:
        return ""


def public_text(text: str, *, limit: int = MAX_FACT_CHARACTERS) -> str:
    """Printable ASCII on one line, at most ``limit`` characters: whatever else becomes `?`."""
    flat = " ".join(text.split())
    return "".join(c if " " <= c <= "~" else "?" for c in flat[:limit])


# --- errors to replies ----------------------------------------------------------------------------

REPLIES: Final[dict[type[GatewayError], Reply]] = {
    GatewayError: Reply(451, "4.3.0", "Internal error"),
    # The client: cakemail-api 7.6, drop-in 4.3. Programs match on some of these phrases.
    errors.ClientError: Reply(550, "5.7.1", "Not permitted"),
    errors.CredentialsInvalid: Reply(535, "5.7.8", "Authentication credentials invalid"),
    errors.CredentialsRevoked: Reply(554, "5.7.8", "Authentication credentials no longer valid"),
    errors.LoginExpired: Reply(451, "4.7.0", "Login expired, log in again"),
    errors.MultiFactorRequired: Reply(
        535,
        "5.7.8",
        "Authentication credentials invalid: the account uses multi-factor authentication"
        " and needs an access token as password",
    ),
    errors.LockedOut: Reply(421, "4.7.0", "Too many different wrong passwords{retry}"),
    errors.NotPermitted: Reply(550, "5.7.1", "Not permitted: {reason}"),
    errors.SenderNotVerified: Reply(
        550, "5.7.1", "The from address does not match a verified Sender Identity: {address}"
    ),
    errors.RateLimited: Reply(451, "4.7.1", "Rate limit{retry}"),
    errors.CapacityExceeded: Reply(452, "4.3.1", "Insufficient system storage, try again"),
    # The message.
    errors.MessageError: Reply(554, "5.6.0", "Message refused"),
    errors.MessageTooLarge: Reply(552, "5.3.4", "Message size exceeds limit of {limit} octets"),
    errors.MessageTooComplex: Reply(554, "5.6.0", "Message too complex: {reason}"),
    errors.RoutingLoop: Reply(554, "5.4.6", "Too many Received fields, mail loop"),
    errors.MessageUnreadable: Reply(554, "5.6.0", "Message unreadable: {reason}"),
    errors.HeaderInvalid: Reply(550, "5.6.0", "{header}: {reason}"),
    errors.PartUnsupported: Reply(550, "5.6.1", "Part not supported: {part}: {reason}"),
    # The API.
    errors.UpstreamError: Reply(451, "4.3.0", "Service error, try again"),
    errors.AuthenticationUnavailable: Reply(454, "4.7.0", "Temporary authentication failure"),
    errors.LookupUnavailable: Reply(451, "4.3.0", "Account data not available, try again"),
    errors.Throttled: Reply(451, "4.7.1", "Rate limit{retry}"),
    errors.Unreachable: Reply(451, "4.4.1", "Service not reachable, try again"),
    errors.Unavailable: Reply(451, "4.3.2", "Service temporarily unavailable"),
    errors.NotSent: Reply(451, "4.3.0", "Message not sent, try again"),
    errors.NotConfirmed: Reply(451, "4.4.2", "Submission not confirmed, try again"),
    errors.RequestMisdirected: Reply(451, "4.3.5", "Service not configured correctly, try again"),
    errors.RefusedUpstream: Reply(550, "5.6.0", "Message refused: {excerpt}"),
    errors.RecipientRefused: Reply(550, "5.1.3", "Recipient address refused: {excerpt}"),
    errors.SenderRefused: Reply(550, "5.1.8", "Sender refused: {excerpt}"),
    errors.AttachmentRefused: Reply(550, "5.6.1", "Attachment refused: {excerpt}"),
    errors.ContentRefused: Reply(550, "5.6.0", "Message refused: {excerpt}"),
    errors.SubmissionForbidden: Reply(550, "5.7.1", "Submission not permitted: {excerpt}"),
    errors.ConfigurationRefused: Reply(550, "5.7.1", "List or policy not usable: {excerpt}"),
    errors.RequestTooLarge: Reply(552, "5.3.4", "Message too large for the service: {excerpt}"),
    # Ourselves: unknown means temporary.
    errors.InternalError: Reply(451, "4.3.0", "Internal error"),
}

# What the client itself wrote in this transaction may be shown with an address in it (smtp-server
# 3.9, cakemail-api 7.6); every other fact loses addresses and whatever looks like a secret.
_FROM_THE_CLIENT: Final = frozenset({"address", "header", "part"})
_FOREIGN_LIMIT: Final = 1_000  # characters of a foreign text that are looked at
# A run that holds a digit and is this long is no word of any language, but may be a key. The
# look-ahead begins at the run's start only, so the scan is linear.
_SECRET: Final = re.compile(
    r"ck_pat_|^\W*eyJ|(?<![\w+/=-])(?=[A-Za-z_+/=-]*[0-9])[\w+/=-]{20}", re.ASCII
)


def reply_to(error: BaseException) -> Reply:
    """The row of an error; an unknown class counts as the nearest base that has one.

    What is no error of ours is our own defect: temporary, with a fixed text.
    """
    for kind in type(error).__mro__:
        if kind in REPLIES:
            return REPLIES[kind]
    return REPLIES[errors.InternalError]


def reply_for(error: BaseException, reference: str) -> str:
    """The reply line, without CRLF, for any exception.

    Args:
        error: a ``GatewayError``, or anything else, which becomes ``451 4.3.0 Internal error``.
        reference: the session's id, shown at the end, so that a screenshot finds the log line.
    """
    if not isinstance(error, GatewayError):
        return REPLIES[errors.InternalError].line(reference)
    return reply_to(error).line(reference, **public_facts(error))


def public_facts(error: GatewayError) -> dict[str, str | float]:
    """The facts of an error as a reply may show them, and ``retry``, made from ``seconds``."""
    facts: dict[str, str | float] = {
        name: value if name in _FROM_THE_CLIENT else foreign_text(str(value))
        for name, value in error.facts.items()
    }
    return {**facts, "retry": _retry(error.facts.get("seconds", 0))}


def _retry(seconds: str | float) -> str:
    try:
        wait = math.ceil(float(seconds))
    except (ValueError, OverflowError):  # no number, NaN or infinite: nothing to promise
        wait = 0
    return f", retry in {wait} s" if wait > 0 else ", try again later"


def foreign_text(text: str, *, limit: int = MAX_FACT_CHARACTERS) -> str:
    """Words of the API, or of another foreign source, as a reply or a log may show them.

    On top of ``public_text``: each word that holds an address or looks like a secret is replaced.
    Whole words go, because half an address still names a person. The work is bounded however long
    the text is; a word that the bound would cut goes with it.
    """
    words = text[:_FOREIGN_LIMIT].split()
    if len(text) > _FOREIGN_LIMIT and words:
        words.pop()
    return public_text(" ".join(_cleared(words)), limit=limit)


def _cleared(words: list[str]) -> list[str]:
    cleared = []
    after_bearer = False
    for word in words:
        secret = after_bearer or _SECRET.search(word) is not None
        cleared.append("[hidden]" if secret else "[address]" if _names_a_mailbox(word) else word)
        after_bearer = word.strip("\"'(:,=").lower().endswith("bearer")
    return cleared


def _names_a_mailbox(word: str) -> bool:
    """Every spelling of the at sign: plain, percent-encoded, full width, small."""
    return any(sign in word for sign in ("@", "%40", "\uff20", "\ufe6b"))


# What only the hooks can know.
NO_POSTMASTER = Reply(550, "5.1.1", "No postmaster at this service")
MALFORMED_CREDENTIALS = Reply(501, "5.5.2", "Malformed credentials")


# ---- protocol replies: said by the session machine itself ---------------------------------------
# Error texts carry an enhanced code although ENHANCEDSTATUSCODES is not offered; successes carry
# none but 235, so that Symfony and PHPMailer find the id in ``250 Ok <id>`` (drop-in 4.2).

GREETING = Reply(220, "", "{hostname} ESMTP")
TLS_READY = Reply(220, "", "Ready to start TLS")
GOODBYE = Reply(221, "", "Bye")
AUTHENTICATED = Reply(235, "2.7.0", "Authentication successful")
OK = Reply(250, "", "OK")
HELLO = Reply(250, "", "{hostname}")
CANNOT_VERIFY = Reply(252, "", "Cannot verify the user, but will take mail for it")
HELP_LINE = Reply(214, "", "Commands of RFC 5321 and RFC 6409; mail is taken after AUTH")
START_INPUT = Reply(354, "", "End data with <CR><LF>.<CR><LF>")

SHUTTING_DOWN = Reply(421, "4.3.2", "Service shutting down")
LOGIN_EXPIRED = Reply(421, "4.7.0", "Login expired, connect and log in again")
TIMED_OUT = Reply(421, "4.4.2", "Timeout")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many bad commands")
TOO_MANY_LOGINS = Reply(421, "4.7.0", "Too many failed logins")
TOO_MANY_MESSAGES = Reply(421, "4.7.0", "Too many messages on one connection, connect again")
DEFECT = Reply(451, "4.3.0", "Internal error")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients, limit {limit}")
TLS_UNAVAILABLE = Reply(454, "4.7.0", "TLS not available")

UNKNOWN_COMMAND = Reply(500, "5.5.1", "Command not recognized")
SYNTAX = Reply(500, "5.5.2", "Syntax error")
LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long")
LINE_ENDING = Reply(500, "5.5.2", "Lines must end in CRLF")
AUTH_TOO_LONG = Reply(500, "5.5.6", "Authentication exchange line is too long")
NO_ARGUMENT = Reply(501, "5.5.4", "No argument allowed")
BAD_ARGUMENT = Reply(501, "5.5.4", "Bad argument")
AUTH_SYNTAX = Reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
MAIL_SYNTAX = Reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]")
RCPT_SYNTAX = Reply(501, "5.5.4", "Syntax: RCPT TO:<address> [parameters]")
BAD_PARAMETER = Reply(501, "5.5.4", "Bad value of parameter {keyword}")
BAD_ADDRESS = Reply(501, "5.1.3", "Bad address syntax")
BAD_BASE64 = Reply(501, "5.5.2", "Cannot decode base64")
AUTH_ABORTED = Reply(501, "5.7.0", "Authentication aborted")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
HELLO_FIRST = Reply(503, "5.5.1", "Send EHLO first")
MAIL_FIRST = Reply(503, "5.5.1", "Need MAIL command first")
RCPT_FIRST = Reply(503, "5.5.1", "Need RCPT command first")
NESTED_MAIL = Reply(503, "5.5.1", "Sender already given")
ALREADY_SECURED = Reply(503, "5.5.1", "TLS already active")
ALREADY_AUTHENTICATED = Reply(503, "5.5.1", "Already authenticated")
AUTH_IN_TRANSACTION = Reply(503, "5.5.1", "AUTH not allowed in a mail transaction")
UNKNOWN_MECHANISM = Reply(504, "5.5.4", "Unrecognized authentication type")
STARTTLS_FIRST = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
LOGIN_FIRST = Reply(530, "5.7.0", "Authentication required")
LOGIN_FAILED_BEFORE = Reply(
    530, "5.7.0", "Authentication required (previous login failed: {reason})"
)
LOGIN_REFUSED = Reply(535, "5.7.8", "Authentication credentials invalid")
ENCRYPTION_FIRST = Reply(538, "5.7.11", "Encryption required for authentication")
OVER_SIZE = Reply(552, "5.3.4", "Message size exceeds limit of {limit} octets")
HEADER_TOO_LARGE = Reply(552, "5.3.4", "Header section too large")
NOT_ASCII = Reply(553, "5.6.7", "Internationalized addresses are not supported")
TLS_REFUSED = Reply(554, "5.7.0", "Command refused due to lack of security")
ADDRESS_NOT_QUALIFIED = Reply(554, "5.1.2", "Recipient domain is not fully qualified")
EARLY_INPUT = Reply(554, "5.5.0", "Input before the reply to DATA")
ROUTING_LOOP = Reply(554, "5.4.6", "Too many Received fields, mail loop")
BARE_CR = Reply(
    554, "5.6.0", "Bare CR in the message (LF may have been turned into CRLF twice: CR CR LF)"
)
BARE_LF = Reply(554, "5.6.0", "Bare LF in the message")
DOT_LINE = Reply(554, "5.6.0", "Line of a single dot with a line end other than CRLF")
NUL_OCTET = Reply(554, "5.6.0", "NUL beside a dot or a line end in the message")
NOT_SUPPORTED = Reply(555, "5.5.4", "Parameter not supported: {keyword}")
NO_SMTPUTF8 = Reply(555, "5.6.7", "SMTPUTF8 is not supported")

# ---- edge: said before a session begins, or instead of taking more ------------------------------

TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", "Too many connections, try again later")
TOO_MANY_FOR_LOGIN = Reply(421, "4.7.0", "Too many connections for this login")
OVERLOADED = Reply(421, "4.3.2", "Service overloaded, try again later")
NO_MEMORY = Reply(452, "4.3.1", "Insufficient system storage, try again")
