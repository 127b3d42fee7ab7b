"""Grammar of the commands: from the argument of a line to its meaning, or to the reply it earns.

Pure functions. Addresses follow RFC 5321 by one compiled expression (0.3 us; a parser of RFC 5322
takes fifty times that and accepts comments, NUL and `RCPT TO:<>`), plus the leniencies that real
clients need: a space after the colon, a path without brackets, source routes that are dropped,
underscores in domains.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtp_gateway.smtp import replies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smtp_gateway.smtp.replies import Reply

    Check = Callable[[str], Reply | None]

MAX_LOCAL_PART_OCTETS = 64  # RFC 5321 4.5.3.1.1
MAX_DOMAIN_OCTETS = 255  # RFC 5321 4.5.3.1.2
MAX_PATH_OCTETS = 256  # RFC 5321 4.5.3.1.3, with the angle brackets
MAX_HELLO_OCTETS = 255
MAX_ENVID_OCTETS = 100  # RFC 3461 4.4
MAX_ORCPT_OCTETS = 500  # RFC 3461 4.2
NULL_SENDER = "<>"  # as aiosmtpd hands it to the hook
POSTMASTER = "Postmaster"


class Refused(Exception):
    """The command earns this reply instead of being obeyed."""

    def __init__(self, reply: Reply, **facts: str | float) -> None:
        super().__init__(reply.text)
        self.reply = reply
        self.facts = facts


@dataclass(frozen=True, slots=True)
class Path:
    """Argument of MAIL or RCPT: the address, its parameters as the hook gets them, and SIZE."""

    address: str
    parameters: list[str]
    size: int | None = None


# --- the line -------------------------------------------------------------------------------------


def split_command(line: bytes) -> tuple[str, str]:
    """Verb in upper case and argument without outer blanks, from a line without its CRLF.

    Octets that are no UTF-8 survive as surrogates, so nothing of what came is lost silently.
    """
    verb, _, argument = line.partition(b" ")
    # RFC 5321 2.4: verbs in any case
    return (
        verb.upper().decode("ascii", "replace").strip(),
        argument.decode("utf-8", "surrogateescape").strip(" \t"),
    )


def hello_name(argument: str) -> str:
    """What HELO or EHLO names: anything printable, or nothing; never a reason to refuse a client.

    Raises:
        Refused: control characters, or more than 255 octets.
    """
    # RFC 5321 4.1.4: the argument's truth is no ground for refusal. Absent: seen from devices.
    shown = argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if not shown.isprintable() or len(shown.encode()) > MAX_HELLO_OCTETS:
        raise Refused(replies.BAD_ARGUMENT)
    return shown


# --- addresses ------------------------------------------------------------------------------------

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ATOM_UTF8 = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\ud7ff\ue000-\U0010ffff-]+"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_QUOTED_UTF8 = r'"(?:[ !#-\[\]-~\u0080-\ud7ff\ue000-\U0010ffff]|\\[ -~])*"'
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_LABEL_UTF8 = (
    r"[A-Za-z0-9_\u0080-\ud7ff\ue000-\U0010ffff]"
    r"(?:[A-Za-z0-9_\u0080-\ud7ff\ue000-\U0010ffff-]*[A-Za-z0-9_\u0080-\ud7ff\ue000-\U0010ffff])?"
)
_QUAD = r"\d{1,3}(?:\.\d{1,3}){3}"
_LITERAL = rf"\[(?:{_QUAD}|IPv6:[0-9A-Fa-f:.]+|[A-Za-z0-9-]*[A-Za-z0-9]:[!-Z^-~]+)\]"


def _compile(atom: str, quoted: str, label: str) -> re.Pattern[str]:
    local = rf"(?:{atom}(?:\.{atom})*|{quoted})"
    domain = rf"(?:{label}(?:\.{label})*|{_LITERAL})"
    # RFC 5321 4.1.1.3: a source route is accepted and dropped
    route = rf"(?:@{domain}(?:,@{domain})*:)?"
    mailbox = rf"{local}@{domain}"
    return re.compile(
        rf"[ \t]*(?:<(?P<path>{route}(?P<inner>{mailbox}|postmaster)?)>|(?P<bare>{mailbox}))"
        rf"(?:[ \t]+(?P<parameters>.*))?",
        re.IGNORECASE | re.ASCII,
    )


_PATH = _compile(_ATOM, _QUOTED, _LABEL)
_PATH_UTF8 = _compile(_ATOM_UTF8, _QUOTED_UTF8, _LABEL_UTF8)


def mail_path(argument: str, *, size_limit: int, smtputf8: bool = False) -> Path:
    """The argument of MAIL: ``FROM:<path> [parameters]``.

    Raises:
        Refused: syntax, an address not allowed, a parameter not known or too large a SIZE.
    """
    match = _matched(argument, "FROM:", replies.MAIL_SYNTAX, smtputf8=smtputf8)
    address = _mailbox(match)
    if address.lower() == POSTMASTER.lower():
        raise Refused(replies.BAD_ADDRESS)  # RFC 5321 4.1.1.3: only a recipient has this form
    parameters = _parameters(match["parameters"])
    _check_all(parameters, _MAIL_PARAMETERS_UTF8 if smtputf8 else _MAIL_PARAMETERS)
    size = int(parameters["SIZE"]) if "SIZE" in parameters else None
    if size is not None and size > size_limit:
        raise Refused(replies.OVER_SIZE, limit=size_limit)  # RFC 1870 6.1
    return Path(address or NULL_SENDER, _as_list(parameters), size)


def recipient_path(argument: str, *, smtputf8: bool = False) -> Path:
    """The argument of RCPT: ``TO:<path> [parameters]``.

    Raises:
        Refused: syntax, a domain that is no full one, a parameter not known.
    """
    match = _matched(argument, "TO:", replies.RCPT_SYNTAX, smtputf8=smtputf8)
    address = _mailbox(match)
    if not address:
        raise Refused(replies.BAD_ADDRESS)  # the null path is no recipient
    parameters = _parameters(match["parameters"])
    _check_all(parameters, _RCPT_PARAMETERS)
    if address.lower() == POSTMASTER.lower():
        return Path(POSTMASTER, _as_list(parameters))  # RFC 5321 4.5.1
    domain = address.rpartition("@")[2]
    if "." not in domain or domain.startswith("["):
        raise Refused(replies.ADDRESS_NOT_QUALIFIED)  # RFC 6409 4.2
    return Path(address, _as_list(parameters))


def _matched(argument: str, keyword: str, syntax: Reply, *, smtputf8: bool) -> re.Match[str]:
    if argument[: len(keyword)].upper() != keyword or len(argument) == len(keyword):
        raise Refused(syntax)
    pattern = _PATH_UTF8 if smtputf8 else _PATH
    match = pattern.fullmatch(argument, len(keyword))
    if match is None:
        raise Refused(_address_fault(argument[len(keyword) :], smtputf8=smtputf8))
    return match


def _address_fault(text: str, *, smtputf8: bool) -> Reply:
    # RFC 6531 3.4: without the extension, an address outside ASCII is refused as such
    if not smtputf8 and not text.isascii():
        return replies.NOT_ASCII
    return replies.BAD_ADDRESS


def _mailbox(match: re.Match[str]) -> str:
    """Address without brackets and route, within the lengths of RFC 5321; "" for the null path."""
    address = match["inner"] or match["bare"] or ""
    if not address and match["path"]:
        raise Refused(replies.BAD_ADDRESS)  # a route that leads to nobody
    local, _, domain = address.rpartition("@")
    if (
        len(local.encode()) > MAX_LOCAL_PART_OCTETS
        or len(domain.encode()) > MAX_DOMAIN_OCTETS
        or len(address.encode()) + 2 > MAX_PATH_OCTETS
    ):
        raise Refused(replies.BAD_ADDRESS)
    return address


# --- parameters -----------------------------------------------------------------------------------

_PARAMETER = re.compile(r"(?P<key>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[!-~]+))?")
# RFC 3461 4: xtext; "+" begins two upper-case digits (lower case is seen, and harms nobody)
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})+")
_SIZE = re.compile(r"[0-9]{1,20}")  # RFC 1870 4
_ORCPT = re.compile(r"[A-Za-z0-9-]+;.+")
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})


def _parameters(text: str | None) -> dict[str, str]:
    """``KEY`` in upper case to value, "" without one. RFC 5321 4.1.2, Esmtp-param."""
    found: dict[str, str] = {}
    for word in (text or "").split():
        match = _PARAMETER.fullmatch(word)
        if match is None:
            raise Refused(replies.BAD_PARAMETER, keyword=word.partition("=")[0][:32])
        key = match["key"].upper()
        if key in found:
            raise Refused(replies.BAD_PARAMETER, keyword=key[:32])
        found[key] = match["value"] or ""
    return found


def _as_list(parameters: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" if value else key for key, value in parameters.items()]


def _check_all(parameters: Mapping[str, str], known: Mapping[str, Check]) -> None:
    for keyword, value in parameters.items():
        check = known.get(keyword)
        # RFC 5321 4.1.1.11: 555 for what is not known; never silently ignored
        fault = replies.NOT_SUPPORTED if check is None else check(value)
        if fault is not None:
            raise Refused(fault, keyword=keyword[:32])


def _bad_unless(good: bool) -> Reply | None:  # noqa: FBT001  # one word for a condition
    return None if good else replies.BAD_PARAMETER


def _size(value: str) -> Reply | None:
    return _bad_unless(_SIZE.fullmatch(value) is not None)


def _body(value: str) -> Reply | None:
    if value.upper() == "BINARYMIME":
        return replies.NOT_SUPPORTED  # RFC 3030: not offered, and a promise we do not keep
    return _bad_unless(value.upper() in {"7BIT", "8BITMIME"})  # RFC 6152 3


def _auth(value: str) -> Reply | None:
    return _bad_unless(bool(value))  # RFC 4954 5: `<>` or a mailbox; taken and not believed


def _ret(value: str) -> Reply | None:
    return _bad_unless(value.upper() in {"FULL", "HDRS"})  # RFC 3461 4.3


def _envid(value: str) -> Reply | None:
    good = len(value) <= MAX_ENVID_OCTETS and _XTEXT.fullmatch(value) is not None
    return _bad_unless(good)


def _notify(value: str) -> Reply | None:
    words = value.upper().split(",")
    return _bad_unless(words == ["NEVER"] or _NOTIFY.issuperset(words))  # RFC 3461 4.1


def _orcpt(value: str) -> Reply | None:
    # RFC 3461 4.2 asks for xtext; Postfix and others leave "=" as it is, so only the form counts
    return _bad_unless(len(value) <= MAX_ORCPT_OCTETS and _ORCPT.fullmatch(value) is not None)


def _no_smtputf8(value: str) -> Reply | None:
    return replies.BAD_PARAMETER if value else replies.NO_SMTPUTF8


def _smtputf8(value: str) -> Reply | None:
    return _bad_unless(not value)  # RFC 6531 3.4: it takes no value


_MAIL_PARAMETERS: Mapping[str, Check] = {
    "SIZE": _size,
    "BODY": _body,
    "AUTH": _auth,
    "RET": _ret,
    "ENVID": _envid,
    "SMTPUTF8": _no_smtputf8,
}
_MAIL_PARAMETERS_UTF8: Mapping[str, Check] = {**_MAIL_PARAMETERS, "SMTPUTF8": _smtputf8}
_RCPT_PARAMETERS: Mapping[str, Check] = {"NOTIFY": _notify, "ORCPT": _orcpt}
