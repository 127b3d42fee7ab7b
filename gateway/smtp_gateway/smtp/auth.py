"""AUTH without I/O: mechanisms, base64 as RFC 4954 wants it, and what failed logins cost."""

from __future__ import annotations

import binascii
import re
from collections.abc import Collection

from smtp_gateway.smtp import replies
from smtp_gateway.smtp.commands import Refused
from smtp_gateway.smtp.effects import HookName

# RFC 4954 4: mechanism names in any case (.NET sends `AUTH login`)
MECHANISMS = {"PLAIN": HookName.AUTH_PLAIN, "LOGIN": HookName.AUTH_LOGIN}
MECHANISM_OF = {hook: name for name, hook in MECHANISMS.items()}
# RFC 4954 4: a client gives up an exchange with this line
ABORT = b"*"

FAILURES_UNTIL_CLOSE = 10
_DELAYS_SECONDS = (0.0, 0.0, 0.0, 1.0, 2.0)
_LONGEST_DELAY_SECONDS = 4.0

_SURROUNDINGS = re.compile(r"^\d{3}[ -]?(?:\d\.\d{1,3}\.\d{1,3} ?)?|\s*\[[^\]]*\]$")


def decode(text: bytes) -> bytes | None:
    """Octets of one line of base64; None if it is anything else (RFC 4954 4, RFC 4648 4)."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None


def parse(
    argument: str, allowed: Collection[str] = MECHANISMS.keys()
) -> tuple[HookName, list[str]]:
    """The hook and its list: mechanism, and the initial response in base64 when there is one.

    Raises:
        Refused: no or too many words, a mechanism not known or not allowed, a response that is no
            base64.
    """
    words = argument.split()
    if not 1 <= len(words) <= 2:  # noqa: PLR2004  # mechanism and initial response
        raise Refused(replies.AUTH_SYNTAX)
    name = words[0].upper()
    hook = MECHANISMS.get(name)
    if hook is None or name not in allowed:
        raise Refused(replies.UNKNOWN_MECHANISM)
    if len(words) == 1:
        return hook, [name]
    # RFC 4954 4: "=" is an initial response of no octets
    response = "" if words[1] == "=" else words[1]
    if decode(response.encode("utf-8", "surrogateescape")) is None:
        raise Refused(replies.BAD_BASE64)
    return hook, [name, response]


def delay_after(failures: int) -> float:
    """Seconds that the reply to this failure waits: 0, 0, 1, 2, 4, 4, ..."""
    if failures < len(_DELAYS_SECONDS):
        return _DELAYS_SECONDS[failures]
    return _LONGEST_DELAY_SECONDS


def reason_of(line: str) -> str:
    """The words of a refusal, without code and reference, to be told again at MAIL."""
    return _SURROUNDINGS.sub("", line)
