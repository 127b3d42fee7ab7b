"""Every reply to a client, in tables: what is said, with which digits, through one filter.

An exception's text never reaches a client. What comes from outside (the API's words, a header's
name, an address) is a *fact* of the error, and passes ``public_text`` before it stands in a reply.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        text = self.text.format_map(_Facts(shown)).strip()
        words = [str(self.code), *([self.enhanced] if self.enhanced else []), text]
        suffix = f" [{reference}]" if reference and self.code >= 400 else ""  # noqa: PLR2004
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
